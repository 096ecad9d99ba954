//! Curves over the number of peers, as SVG.

use std::fmt::Write as _;

use serde_json::Value;

/// Size of a picture, and of what is around its curves.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 48.0;
/// Between two lines of the legend.
const LINE: f64 = 20.0;
/// Horizontal lines.
const STEPS: usize = 4;
/// Of the curves, told apart by those who do not see all colours, too, and on dark and on light ground.
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#999933"];

/// A picture: one figure of some operations.
pub(super) struct Curve {
    /// The name of its file.
    pub(super) file: &'static str,
    title: &'static str,
    operations: &'static [&'static str],
    of: fn(&Value) -> Option<f64>,
    /// From where the scale goes, and how far at least.
    scale: (f64, f64),
}

const SETTLED: &[&str] = &["lookup", "provide", "find providers", "name publish", "name resolve"];

/// All pictures.
pub(super) const ALL: [Curve; 4] = [
    Curve {
        file: "hops.svg",
        title: "answers one after another until the closest peer is known (hops)",
        operations: SETTLED,
        of: |cost| cost["hops"].as_f64(),
        scale: (0.0, 4.0),
    },
    Curve {
        file: "messages.svg",
        title: "messages of one operation",
        operations: SETTLED,
        of: |cost| cost["messages"].as_f64(),
        scale: (0.0, 40.0),
    },
    Curve {
        file: "time.svg",
        title: "median time of one operation, in ms",
        operations: SETTLED,
        of: |cost| cost["median_ms"].as_f64(),
        scale: (0.0, 1000.0),
    },
    Curve {
        file: "success.svg",
        title: "operations that succeed under churn, in percent",
        operations: &[
            "find providers, a third gone",
            "name resolve, a third gone",
            "lookup, a third replaced",
            "find providers, a third replaced",
            "name resolve, a third replaced",
        ],
        of: |cost| Some(100.0 * cost["succeeded"].as_f64()? / cost["count"].as_f64()?),
        scale: (95.0, 100.0),
    },
];

impl Curve {
    /// The picture of what was measured, in the order of the number of peers.
    pub(super) fn draw(&self, measured: &[Value]) -> String {
        let points = |operation: &str| -> Vec<(f64, f64)> {
            let of = |one: &Value| {
                let costs = one["operations"].as_array()?;
                let cost = costs.iter().find(|cost| cost["operation"] == operation)?;
                Some((one["nodes"].as_f64()?, (self.of)(cost)?))
            };
            measured.iter().filter_map(of).collect()
        };
        let all: Vec<Vec<(f64, f64)>> = self.operations.iter().map(|operation| points(operation)).collect();
        let nodes: Vec<f64> = measured.iter().filter_map(|one| one["nodes"].as_f64()).collect();
        let (least, most) = (
            nodes.first().copied().unwrap_or(1.0),
            nodes.last().copied().unwrap_or(1.0),
        );
        let values = || all.iter().flatten().map(|(_, value)| *value);
        let from = values().fold(self.scale.0, f64::min);
        let to = rounded_up(values().fold(self.scale.1, f64::max));
        let x = |nodes: f64| {
            let share = (nodes / least).ln() / (most / least).ln().max(f64::MIN_POSITIVE);
            LEFT + share * (WIDTH - LEFT - RIGHT)
        };
        let y = |value: f64| HEIGHT - BOTTOM - (value - from) / (to - from) * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<style>text{{fill:#333}}.grid{{stroke:#ddd}}@media(prefers-color-scheme:dark){{text{{fill:#ccc}}\
             .grid{{stroke:#444}}}}</style>\n<title>{0}</title>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{0}</text>\n",
            self.title
        );
        for step in 0..=STEPS {
            let value = from + (to - from) * step as f64 / STEPS as f64;
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(value) + 4.0,
                (value * 100.0).round() / 100.0,
                y = y(value),
            );
        }
        for nodes in &nodes {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{nodes}</text>",
                x(*nodes),
                HEIGHT - BOTTOM + 18.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">peers</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 10.0
        );
        for (number, ((operation, points), colour)) in self.operations.iter().zip(&all).zip(COLOURS).enumerate() {
            let line: Vec<String> = points
                .iter()
                .map(|(nodes, value)| format!("{:.1},{:.1}", x(*nodes), y(*value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                line.join(" ")
            );
            for (nodes, value) in points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                    x(*nodes),
                    y(*value)
                );
            }
            let at = TOP + LINE * number as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{:.1}\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"{:.1}\">{operation}</text>",
                WIDTH - RIGHT + 10.0,
                at - 9.0,
                WIDTH - RIGHT + 26.0,
                at
            );
        }
        svg + "</svg>\n"
    }
}

/// The next number above that is easily read.
fn rounded_up(value: f64) -> f64 {
    let magnitude = 10.0_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().map(|step| step * magnitude).find(|step| *step >= value);
    fits.unwrap_or(value)
}
