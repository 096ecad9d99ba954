//! The lineage as a picture: for Graphviz, or as a page that needs nothing else.

use std::collections::BTreeMap;

use odf::metadata::DatasetId;

use super::view::{Described, View};

/// Size of a box and the room around it, in pixels.
const WIDTH: usize = 220;
const HEIGHT: usize = 44;
const GAP: (usize, usize) = (90, 24);

/// Fill colours of a root dataset, a derivative one, and one that is not here.
fn colour(described: &Described) -> &'static str {
    match described.kind {
        "Root" => "darkolivegreen1",
        "Derivative" => "lightblue",
        _ => "gray",
    }
}

/// The graph in the DOT language, edges from inputs to what is computed from them.
pub(super) fn dot(view: &View) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = String::from("digraph datasets {\nrankdir = LR;\n");
    for id in &view.all {
        let described = view.describe(id);
        let name = quoted(&described.label);
        text.push_str(&format!("{name} [style=filled, fillcolor={}];\n", colour(&described)));
        for input in view.inputs(id) {
            text.push_str(&format!("{} -> {name};\n", quoted(&view.describe(&input).label)));
        }
    }
    text.push_str("}\n");
    text
}

/// A page with the graph drawn in layers, each dataset right of all its inputs.
pub(super) fn html(view: &View) -> String {
    let mut places: BTreeMap<DatasetId, (usize, usize)> = BTreeMap::new();
    let mut heights: Vec<usize> = Vec::new();
    // Inputs come first, so theirs are known, but for a claimed cycle.
    for id in &view.all {
        let inputs = view.inputs(id);
        let layer = inputs
            .iter()
            .filter_map(|input| places.get(input))
            .map(|(layer, _)| layer + 1)
            .max();
        let layer = layer.unwrap_or(0);
        if heights.len() <= layer {
            heights.resize(layer + 1, 0);
        }
        places.insert(*id, (layer, heights[layer]));
        heights[layer] += 1;
    }
    let left = |layer: usize| GAP.1 + layer * (WIDTH + GAP.0);
    let top = |row: usize| GAP.1 + row * (HEIGHT + GAP.1);
    let mut edges = String::new();
    let mut boxes = String::new();
    for (id, (layer, row)) in &places {
        let (x, y) = (left(*layer), top(*row));
        for (from_layer, from_row) in view.inputs(id).iter().filter_map(|input| places.get(input)) {
            let (from_x, from_y) = (left(*from_layer) + WIDTH, top(*from_row) + HEIGHT / 2);
            let (to_y, bend) = (y + HEIGHT / 2, GAP.0 / 2);
            edges.push_str(&format!(
                "<path d=\"M{from_x} {from_y} C{} {from_y} {} {to_y} {x} {to_y}\"/>\n",
                from_x + bend,
                x.saturating_sub(bend)
            ));
        }
        let described = view.describe(id);
        let label = escaped(&described.label);
        // The colour names of Graphviz that are not those of CSS.
        let fill = colour(&described)
            .trim_end_matches('1')
            .replace("darkolivegreen", "#caff70");
        boxes.push_str(&format!(
            "<g><title>{id}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{fill}\"/>\
             <text x=\"{}\" y=\"{}\">{label}</text><text class=\"kind\" x=\"{}\" y=\"{}\">{}</text></g>\n",
            x + WIDTH / 2,
            y + 19,
            x + WIDTH / 2,
            y + 35,
            described.kind
        ));
    }
    let width = left(heights.len());
    let height = top(heights.into_iter().max().unwrap_or(0)) + GAP.1;
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Lineage</title>\n<style>\
         body {{ font: 14px sans-serif }} text {{ text-anchor: middle }} .kind {{ font-size: 11px; fill: #444 }} \
         rect {{ stroke: #444 }} path {{ fill: none; stroke: #888 }}</style></head><body>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">\n{edges}{boxes}</svg>\n\
         </body></html>\n"
    )
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_others_stay_text() {
        assert_eq!(escaped("<script>\"&"), "&lt;script&gt;&quot;&amp;");
    }
}
