//! Figures as plots: SVG text, to be put into a page. Where there is no figure there is no line.

use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::figures::{Point, Series};

const SIZE: (u32, u32) = (960, 320);
const FONT: &str = "sans-serif";
const GREEN: RGBColor = RGBColor(44, 140, 84);
const BLUE: RGBColor = RGBColor(41, 98, 168);
const ORANGE: RGBColor = RGBColor(214, 120, 28);
const GREY: RGBColor = RGBColor(150, 150, 150);

/// Stretches of the latency axis per doubling.
const STRETCHES_PER_DOUBLING: f64 = 6.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Points without a gap between them.
type Stretch = Vec<(f64, f64)>;
type Line = (&'static str, RGBColor, Vec<Stretch>);

/// Committed and aborted transactions a second, over time.
pub(crate) fn throughput(series: &Series) -> Result<String, String> {
    let rate = |of: fn(&Point) -> u64| {
        over_time(series, |point| {
            // What is left of an interval at the end may be too short to have a rate.
            (point.length * 4 >= series.interval).then(|| of(point) as f64 / point.length.as_secs_f64())
        })
    };
    let lines = vec![
        ("committed a second", GREEN, rate(|point| point.committed)),
        ("aborted a second", ORANGE, rate(|point| point.aborted)),
    ];
    let top = top_of(&lines);
    draw(|area| {
        let mut chart = frame(area).build_cartesian_2d(0.0..end_of(series), 0.0..top * 1.2).map_err(text)?;
        mesh!(chart, "seconds", "transactions a second", |y: &f64| format!("{y:.0}"));
        plot!(chart, lines);
        Ok(())
    })
}

/// Latency percentiles, over time.
pub(crate) fn latency(series: &Series) -> Result<String, String> {
    let percentile =
        |of: fn(&Point) -> Option<u64>| over_time(series, |point| of(point).map(|us| us.max(1) as f64 / 1e3));
    let lines = vec![
        ("max", GREY, percentile(|point| point.max_us)),
        ("p99", ORANGE, percentile(|point| point.p99_us)),
        ("p50", BLUE, percentile(|point| point.p50_us)),
    ];
    if lines.iter().all(|line| line.2.is_empty()) {
        return nothing_committed();
    }
    let top = top_of(&lines);
    let bottom = lines.iter().flat_map(|line| line.2.iter().flatten()).map(|point| point.1).fold(top, f64::min) * 0.8;
    draw(|area| {
        // Room above the lines for the legend.
        let range = (bottom..top * 4.0).log_scale();
        let mut chart = frame(area).build_cartesian_2d(0.0..end_of(series), range).map_err(text)?;
        mesh!(chart, "seconds", "milliseconds", |y: &f64| milliseconds(*y));
        plot!(chart, lines);
        Ok(())
    })
}

/// How many transactions took how long.
pub(crate) fn distribution(latency_us: &Histogram<u64>) -> Result<String, String> {
    if latency_us.is_empty() {
        return nothing_committed();
    }
    let stretches = stretches(latency_us);
    let total = latency_us.len() as f64;
    let outline: Vec<(f64, f64)> = stretches
        .iter()
        .flat_map(|(from, to, count)| [(*from, *count), (*to, *count)])
        .map(|(us, count)| (us / 1e3, count as f64 * 100.0 / total))
        .collect();
    let left = outline.first().map_or(0.001, |point| point.0);
    let right = outline.last().map_or(1.0, |point| point.0).max(left * 2.0);
    let top = outline.iter().map(|point| point.1).fold(0.0, f64::max).max(1.0) * 1.1;
    draw(|area| {
        let range = (left..right).log_scale();
        let mut chart = frame(area).build_cartesian_2d(range, 0.0..top).map_err(text)?;
        chart
            .configure_mesh()
            .x_desc("milliseconds")
            .y_desc("% of the committed transactions")
            .x_label_formatter(&|x| milliseconds(*x))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .light_line_style(TRANSPARENT)
            .label_style((FONT, 13))
            .draw()
            .map_err(text)?;
        let area = AreaSeries::new(outline.iter().copied(), 0.0, BLUE.mix(0.25)).border_style(BLUE.stroke_width(2));
        chart.draw_series(area).map_err(text)?;
        for (name, quantile) in [("p50", 0.50), ("p99", 0.99), ("p99.9", 0.999)] {
            let at = (latency_us.value_at_quantile(quantile).max(1) as f64 / 1e3).clamp(left, right);
            let line = [(at, 0.0), (at, top * 0.93)];
            chart.draw_series(LineSeries::new(line, GREY.stroke_width(1))).map_err(text)?;
            let label = Text::new(name, (at, top * 0.98), (FONT, 13));
            chart.draw_series(std::iter::once(label)).map_err(text)?;
        }
        Ok(())
    })
}

/// Stretches of equal width on a logarithmic axis, in microseconds, with their counts.
fn stretches(latency_us: &Histogram<u64>) -> Vec<(f64, f64, u64)> {
    let step = (1.0 / STRETCHES_PER_DOUBLING).exp2();
    let mut from = latency_us.min().max(1) as f64;
    let mut below = 0;
    let mut stretches = Vec::new();
    while below < latency_us.len() {
        // Narrow stretches widen to whole microseconds: there is nothing in between.
        let to = (from * step).max(from + 1.0).floor();
        let count = latency_us.count_between(from as u64, to as u64 - 1);
        stretches.push((from, to, count));
        below = latency_us.count_between(0, to as u64 - 1);
        from = to;
    }
    stretches
}

/// Each point that has a figure, at the middle of its time; a point without one ends the stretch.
fn over_time(series: &Series, of: impl Fn(&Point) -> Option<f64>) -> Vec<Stretch> {
    let seconds = series.interval.as_secs_f64();
    let mut stretches = vec![Stretch::new()];
    for (at, point) in series.points.iter().enumerate() {
        match (of(point), stretches.last_mut()) {
            (Some(figure), Some(stretch)) => {
                stretch.push((at as f64 * seconds + point.length.as_secs_f64() / 2.0, figure));
            }
            (_, _) => stretches.push(Stretch::new()),
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

fn end_of(series: &Series) -> f64 {
    let end = series.points.iter().map(|point| point.length).sum::<std::time::Duration>();
    end.max(series.interval).as_secs_f64()
}

fn nothing_committed() -> Result<String, String> {
    draw(|area| {
        let middle = (SIZE.0 as i32 / 2 - 90, SIZE.1 as i32 / 2);
        area.draw(&Text::new("no committed transaction", middle, (FONT, 16))).map_err(text)
    })
}

fn top_of(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| line.2.iter().flatten()).map(|point| point.1).fold(0.001, f64::max) * 1.15
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 0.1 => format!("{ms:.2}"),
        ms if ms < 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn draw(chart: impl FnOnce(&Area) -> Result<(), String>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        chart(&area)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

fn frame<'a, 'b>(area: &'b Area<'a>) -> ChartBuilder<'b, 'b, SVGBackend<'a>>
where
    'a: 'b,
{
    let mut builder = ChartBuilder::on(area);
    builder.margin(12).x_label_area_size(42).y_label_area_size(72);
    builder
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Axes over time. A macro, since the chart's type differs with its axes.
macro_rules! mesh {
    ($chart:ident, $x:literal, $y:literal, $label:expr) => {
        $chart
            .configure_mesh()
            .x_desc($x)
            .y_desc($y)
            .y_label_formatter(&$label)
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .label_style((FONT, 13))
            .draw()
            .map_err(text)?
    };
}
use mesh;

/// Lines and their legend.
macro_rules! plot {
    ($chart:ident, $lines:ident) => {
        for (name, color, stretches) in $lines {
            let alone = stretches.iter().filter(|stretch| stretch.len() == 1).flatten();
            let dots = alone.map(|point| Circle::new(*point, 2, color.filled())).collect::<Vec<_>>();
            $chart
                .draw_series(dots)
                .map_err(text)?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            for stretch in stretches {
                $chart.draw_series(LineSeries::new(stretch, color.stroke_width(2))).map_err(text)?;
            }
        }
        $chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 13))
            .draw()
            .map_err(text)?;
    };
}
use plot;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Answered, Figures};
    use std::time::Duration;

    #[test]
    fn stretches_hold_every_latency_once() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for us in [1, 1, 2, 3, 10, 100, 101, 5_000, 1_000_000] {
            histogram.record(us).unwrap();
        }
        let stretches = stretches(&histogram);
        assert_eq!(stretches.iter().map(|stretch| stretch.2).sum::<u64>(), histogram.len());
        assert!(stretches.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].0 < pair[0].1));
    }

    #[test]
    fn plots_are_drawn_also_of_nothing() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        for plots in 0..2 {
            for svg in [
                throughput(&figures.series).unwrap(),
                latency(&figures.series).unwrap(),
                distribution(&figures.latency_us).unwrap(),
            ] {
                assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{plots}");
                assert!(!svg.contains("NaN"), "{svg}");
            }
            for at in 0..1_000 {
                figures.committed(Answered::At(Duration::from_millis(at)), Duration::from_micros(at * at));
            }
        }
    }

    /// Lines of a plot, by the points of each: those of the axes have two.
    fn lines_drawn(svg: &str) -> Vec<usize> {
        let lines = svg.split("<polyline").skip(1);
        let points = lines.map(|line| line.split("points=\"").nth(1).unwrap().split('"').next().unwrap());
        points.map(|points| points.split_whitespace().count()).filter(|count| *count > 2).collect()
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let ms = Duration::from_millis;
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        for at in (0..300).chain(600..1_000).step_by(50) {
            figures.committed(Answered::At(ms(at)), ms(1 + at / 100));
        }
        figures.end(ms(1_000));
        let stretches = over_time(&figures.series, |point| point.p50_us.map(|us| us as f64));
        assert_eq!(stretches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(lines_drawn(&latency(&figures.series).unwrap()), [3, 4, 3, 4, 3, 4], "three lines of two stretches");
        // No transactions a second is a figure.
        assert_eq!(lines_drawn(&throughput(&figures.series).unwrap()), [10, 10]);
    }

    #[test]
    fn silence_up_to_the_end_is_shown() {
        let mut figures = Figures::new(Duration::from_secs(10)).unwrap();
        figures.committed(Answered::At(Duration::from_secs(1)), Duration::from_millis(1));
        figures.end(Duration::from_secs(5));
        assert_eq!(end_of(&figures.series), 5.0);
    }

    #[test]
    fn nothing_committed_has_no_percentiles() {
        let figures = Figures::new(Duration::from_secs(1)).unwrap();
        let svg = distribution(&figures.latency_us).unwrap();
        assert!(svg.contains("no committed transaction") && !svg.contains("p99"), "{svg}");
    }
}
