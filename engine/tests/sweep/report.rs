//! The table at the end, for people and as JSON.

use std::fmt::Write;

use super::run::Tally;

/// One line of the table.
pub struct Row {
    pub log: &'static str,
    pub sweep: &'static str,
    pub tally: Tally,
}

/// All rows with their sum, in columns.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<16} {:<19} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>8} {:>8} {:>6} {:>5} {:>7}\n",
        "log",
        "damage",
        "cases",
        "refused",
        "harmless",
        "ambiguous",
        "groups",
        "silent",
        "false",
        "misnamed",
        "panics",
        "peak",
        "seconds"
    );
    let sum = sum(rows);
    for row in rows.iter().chain([&sum]) {
        let tally = &row.tally;
        writeln!(
            out,
            "{:<16} {:<19} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>8} {:>8} {:>6} {:>5.2} {:>7.1}",
            row.log,
            row.sweep,
            tally.cases,
            tally.refused,
            tally.harmless,
            tally.ambiguous,
            tally.ambiguous_groups_max,
            tally.silent,
            tally.false_refusals,
            tally.misnamed,
            tally.panics,
            tally.peak_bytes as f64 / tally.clean_bytes as f64,
            tally.elapsed.as_secs_f64()
        )
        .unwrap();
    }
    out
}

/// All rows with their sum, as one JSON object.
pub fn json(rows: &[Row]) -> String {
    let object = |row: &Row| {
        let tally = &row.tally;
        format!(
            "{{\"log\":\"{}\",\"damage\":\"{}\",\"cases\":{},\"refused\":{},\"harmless\":{},\"ambiguous\":{},\
             \"ambiguous_groups_max\":{},\"silent\":{},\"false_refusals\":{},\"misnamed\":{},\"panics\":{},\
             \"peak_bytes\":{},\"clean_bytes\":{},\"elapsed_s\":{:.3}}}",
            row.log,
            row.sweep,
            tally.cases,
            tally.refused,
            tally.harmless,
            tally.ambiguous,
            tally.ambiguous_groups_max,
            tally.silent,
            tally.false_refusals,
            tally.misnamed,
            tally.panics,
            tally.peak_bytes,
            tally.clean_bytes,
            tally.elapsed.as_secs_f64()
        )
    };
    let list: Vec<String> = rows.iter().map(object).collect();
    format!("{{\"rows\":[{}],\"sum\":{}}}\n", list.join(","), object(&sum(rows)))
}

fn sum(rows: &[Row]) -> Row {
    let mut tally = Tally { clean_bytes: 1, ..Tally::default() };
    rows.iter().for_each(|row| tally.add(&row.tally));
    Row { log: "all", sweep: "all", tally }
}
