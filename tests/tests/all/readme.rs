//! What the README shows works as it stands.

use std::path::Path;

use node::Config;
use protocol::Role;

#[test]
fn the_configuration_files_of_the_readme_are_accepted_and_complete() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let samples: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [participant, coordinator] = samples[..] else { panic!("{} samples", samples.len()) };
    for (role, sample) in [(Role::Participant, participant), (Role::Coordinator, coordinator)] {
        let mut config = Config::new(role);
        config.load_text(sample, &path).unwrap_or_else(|error| panic!("{error}"));
        config.check().unwrap_or_else(|error| panic!("{error}"));
    }
    // What both roles have is shown once.
    let shown = |role| if role == Role::Participant { participant.to_owned() } else { samples.concat() };
    for role in [Role::Participant, Role::Coordinator] {
        let text = shown(role);
        for setting in node::settings(role) {
            let name = setting.key.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{name} =")), "the README does not show {}", setting.key);
        }
    }
}
