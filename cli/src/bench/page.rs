//! The figures of a bench as one page that needs nothing else: no script, no file, no network.

use std::fmt::Write;

use crate::bench::figures::Figures;
use crate::bench::plots;
use crate::bench::result::BenchResult;
use crate::bench::settings::Settings;
use crate::bench::table::{Table, counted, figure, time};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:980px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:0}h2{font-size:1.1em;margin:1.6em 0 .3em}
p.of{color:#666;margin-top:.2em}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:1.2em 0}
.tile{flex:1 1 140px;border:1px solid #ddd;border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:1.45em}.tile span{color:#666;font-size:.9em}
p.cut{background:#fdf0f0;border:1px solid #c33;border-radius:8px;padding:10px 14px;white-space:pre-wrap}
.bad{border-color:#c33;background:#fdf0f0}
svg{width:100%;height:auto;border:1px solid #eee;border-radius:8px}
pre{background:#f6f6f6;border-radius:8px;padding:12px;overflow-x:auto;font-size:13px}";

/// The page.
pub(crate) fn page(settings: &Settings, result: &BenchResult, figures: &Figures) -> Result<String, String> {
    let mut page = String::new();
    write_page(&mut page, settings, result, figures).map_err(|error| error.to_string())?;
    for (mark, plot) in [
        ("@throughput@", plots::throughput(&figures.series)?),
        ("@latency@", plots::latency(&figures.series)?),
        ("@distribution@", plots::distribution(&figures.latency_us)?),
    ] {
        page = page.replacen(mark, &plot, 1);
    }
    Ok(page)
}

fn write_page(
    page: &mut String,
    settings: &Settings,
    result: &BenchResult,
    figures: &Figures,
) -> Result<(), std::fmt::Error> {
    writeln!(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>assent bench</title>")?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>")?;
    writeln!(page, "<h1>assent bench</h1>\n<p class=\"of\">{}</p>", escape(&workload(settings, result)))?;
    if let Some(reason) = &result.incomplete_because {
        writeln!(page, "<p class=\"cut\"><b>Incomplete</b>: {}</p>", escape(reason))?;
    }
    writeln!(page, "<div class=\"tiles\">")?;
    tile(page, &format!("{:.0}", result.committed_tps), "committed a second", false)?;
    tile(page, &time(result.latency_us.p50), "latency p50", false)?;
    tile(page, &time(result.latency_us.p99), "latency p99", false)?;
    tile(page, &figure(result.cpu_us_per_txn, |us| format!("{us:.1} us")), "processor time each", false)?;
    let money = match result.conserved {
        Some(true) => "conserved",
        Some(false) => "NOT conserved",
        None => "not counted",
    };
    tile(page, money, "money", result.conserved != Some(true))?;
    tile(page, &(result.failed + result.unknown).to_string(), "failed or unknown", result.failed + result.unknown > 0)?;
    writeln!(page, "</div>")?;
    let interval = humantime::format_duration(figures.series.interval);
    writeln!(page, "<h2>Throughput over time (every {interval})</h2>\n@throughput@")?;
    writeln!(page, "<h2>Latency of committed transactions over time</h2>\n@latency@")?;
    writeln!(page, "<h2>Distribution of the latency of committed transactions</h2>\n@distribution@")?;
    writeln!(page, "<h2>All figures</h2>\n<pre>{}</pre>\n</body></html>", escape(&Table(result).to_string()))
}

fn workload(settings: &Settings, result: &BenchResult) -> String {
    let pace = match settings.rate {
        Some(rate) => format!("open loop, {rate} transactions a second scheduled"),
        None => "closed loop".to_owned(),
    };
    format!(
        "{}, {}, {pace}, {:.1} s; {} accounts of {}, {}; {} across participants, {} read-only, \
         {} to be refused",
        counted(result.participants, "participant"),
        counted(result.clients, "client"),
        result.duration_s,
        settings.accounts,
        settings.balance,
        settings.distribution,
        settings.cross,
        settings.read_only,
        settings.abort
    )
}

fn tile(page: &mut String, value: &str, name: &str, bad: bool) -> std::fmt::Result {
    let class = if bad { "tile bad" } else { "tile" };
    writeln!(page, "<div class=\"{class}\"><b>{}</b><span>{}</span></div>", escape(value), escape(name))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
