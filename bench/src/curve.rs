//! Draws hit ratios by cache size as an SVG.
//!
//! Does not know: what a policy is; it draws named lines.

use crate::simulation::Point;
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;
/// Told apart without colour, too: each line has its own dashes.
const STROKES: [(&str, &str); 6] = [
    ("#777777", ""),
    ("#0072b2", "6 3"),
    ("#e69f00", "2 3"),
    ("#d55e00", ""),
    ("#009e73", "8 3 2 3"),
    ("#000000", "1 4"),
];

/// The picture of lines over sizes from the same list; sizes are drawn by their logarithm.
pub fn draw(title: &str, lines: &[(&str, Vec<Point>)]) -> String {
    let sizes: Vec<f64> = lines
        .first()
        .map(|(_, points)| points.iter().map(|point| point.terabytes).collect())
        .unwrap_or_default();
    let (least, most) = (sizes.first().copied().unwrap_or(1.0), sizes.last().copied().unwrap_or(10.0));
    let x = |size: f64| LEFT + (size / least).ln() / (most / least).ln() * (WIDTH - LEFT - RIGHT);
    let y = |hit: f64| HEIGHT - BOTTOM - hit / 100.0 * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>\n"
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = svg.write_fmt(text);
    };
    for hit in [0.0, 20.0, 40.0, 60.0, 80.0, 100.0] {
        add(format_args!(
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#dddddd\"/><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{hit} %</text>\n",
            y(hit),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(hit) + 4.0
        ));
    }
    for size in &sizes {
        add(format_args!(
            "<path d=\"M{0:.1} {TOP}V{1}\" stroke=\"#eeeeee\"/><text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{size}</text>\n",
            x(*size),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0
        ));
    }
    add(format_args!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">TB of a point of presence</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0
    ));
    for (at, (name, points)) in lines.iter().enumerate() {
        let (colour, dashes) = STROKES[at % STROKES.len()];
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.terabytes), y(point.hit))).collect();
        let legend = HEIGHT - BOTTOM - 18.0 * (lines.len() - at) as f64;
        add(format_args!(
            "<polyline points=\"{0}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\n\
             <path d=\"M{1} {2}h30\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{3}\" y=\"{4}\">{name}</text>\n",
            path.join(" "),
            WIDTH - 330.0,
            legend,
            WIDTH - 292.0,
            legend + 4.0
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_points_inside_the_picture_and_its_name() {
        let points =
            [(1.0, 0.0), (10.0, 50.0), (100.0, 100.0)].map(|(terabytes, hit)| Point { terabytes, hit });
        let svg = draw("Hits", &[("one", points.to_vec()), ("two", points.to_vec())]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("56.0,408.0 398.0,224.0 740.0,40.0"), "{svg}");
        assert!(svg.contains(">one<") && svg.contains(">two<") && svg.ends_with("</svg>\n"));
    }
}
