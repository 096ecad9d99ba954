//! The content of a `.shp` record as GeoJSON text. Layout: ESRI Shapefile Technical Description, July 1998.

use crate::source::Problem;

type Point = [f64; 2];

/// The geometry as GeoJSON, the type first; none for a null shape.
pub(super) fn to_json(content: &[u8]) -> Result<Option<String>, Problem> {
    let mut bytes = Bytes(content);
    let (kind, coordinates) = match bytes.int()? {
        0 => return Ok(None),
        1 | 11 | 21 => {
            let mut text = String::new();
            write_point(&mut text, bytes.point()?);
            ("Point", text)
        }
        8 | 18 | 28 => {
            bytes.skip(BOX_BYTES)?;
            let count = bytes.count()?;
            let points = bytes.points(count)?;
            ("MultiPoint", listed(&points, |text, point| write_point(text, *point)))
        }
        3 | 13 | 23 => {
            let lines = bytes.parts(false)?;
            (
                "MultiLineString",
                listed(&lines, |text, (_, line)| write_line(text, line)),
            )
        }
        5 | 15 | 25 => {
            let rings = bytes.parts(false)?.into_iter().map(|(_, ring)| (is_hole(&ring), ring));
            ("MultiPolygon", polygons(rings))
        }
        31 => {
            let mut rings = Vec::new();
            for (kind, ring) in bytes.parts(true)? {
                rings.push(match kind {
                    // Outer and first rings; inner and further rings.
                    2 | 4 => (false, ring),
                    3 | 5 => (true, ring),
                    _ => {
                        return Err(Problem::Syntax(
                            "a shape is made of triangles, which GeoJSON has not".to_owned(),
                        ));
                    }
                });
            }
            ("MultiPolygon", polygons(rings.into_iter()))
        }
        other => return Err(Problem::Syntax(format!("there is no shape type {other}"))),
    };
    Ok(Some(format!("{{\"type\":\"{kind}\",\"coordinates\":{coordinates}}}")))
}

/// Length of a bounding box.
const BOX_BYTES: usize = 32;

/// Rings as polygons: holes belong to the outer ring before them.
fn polygons(rings: impl Iterator<Item = (bool, Vec<Point>)>) -> String {
    let mut polygons: Vec<Vec<Vec<Point>>> = Vec::new();
    for (hole, mut ring) in rings {
        if let (Some(first), Some(last)) = (ring.first().copied(), ring.last())
            && first != *last
        {
            ring.push(first);
        }
        match polygons.last_mut() {
            Some(polygon) if hole => polygon.push(ring),
            // A hole in nothing was drawn the wrong way round.
            _ => polygons.push(vec![ring]),
        }
    }
    listed(&polygons, |text, rings| {
        text.push_str(&listed(rings, |text, ring| write_line(text, ring)))
    })
}

/// Points of outer rings go round clockwise, those of holes the other way.
fn is_hole(ring: &[Point]) -> bool {
    let edges = ring.windows(2).map(|edge| match edge {
        [[x0, y0], [x1, y1]] => (x1 - x0) * (y1 + y0),
        _ => 0.0,
    });
    edges.sum::<f64>() < 0.0
}

fn listed<T>(items: &[T], write: impl Fn(&mut String, &T)) -> String {
    let mut text = "[".to_owned();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(&mut text, item);
    }
    text.push(']');
    text
}

fn write_line(text: &mut String, points: &[Point]) {
    text.push_str(&listed(points, |text, point| write_point(text, *point)));
}

fn write_point(text: &mut String, [x, y]: Point) {
    // A number that JSON does not have becomes null.
    let number = |n: f64| serde_json::Number::from_f64(n).map_or_else(|| "null".to_owned(), |n| n.to_string());
    text.push_str(&format!("[{},{}]", number(x), number(y)));
}

/// Little-endian values, from front to back.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Problem> {
        let short = || Problem::Syntax("a shape is shorter than it says".to_owned());
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Problem> {
        self.take(count).map(|_| ())
    }

    fn int(&mut self) -> Result<i32, Problem> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(i32::from_le_bytes(bytes))
    }

    fn float(&mut self) -> Result<f64, Problem> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(bytes))
    }

    fn point(&mut self) -> Result<Point, Problem> {
        Ok([self.float()?, self.float()?])
    }

    /// A number of things that follow; each takes four bytes at least.
    fn count(&mut self) -> Result<usize, Problem> {
        match usize::try_from(self.int()?) {
            Ok(count) if count <= self.0.len() / 4 => Ok(count),
            _ => Err(Problem::Syntax("a shape is shorter than it says".to_owned())),
        }
    }

    fn points(&mut self, count: usize) -> Result<Vec<Point>, Problem> {
        if count > self.0.len() / 16 {
            return Err(Problem::Syntax("a shape is shorter than it says".to_owned()));
        }
        (0..count).map(|_| self.point()).collect()
    }

    /// The parts of a line or polygon, with their types if they have some, else 0.
    fn parts(&mut self, typed: bool) -> Result<Vec<(i32, Vec<Point>)>, Problem> {
        self.skip(BOX_BYTES)?;
        let parts = self.count()?;
        let points = self.count()?;
        let starts = (0..parts).map(|_| self.int()).collect::<Result<Vec<_>, _>>()?;
        let types = match typed {
            true => (0..parts).map(|_| self.int()).collect::<Result<Vec<_>, _>>()?,
            false => vec![0; parts],
        };
        let points = self.points(points)?;
        let mut result = Vec::with_capacity(parts);
        for (at, (start, kind)) in starts.iter().zip(types).enumerate() {
            let end = starts
                .get(at + 1)
                .map_or(Ok(points.len()), |next| usize::try_from(*next));
            let range = usize::try_from(*start).ok().zip(end.ok());
            let part = range.and_then(|(start, end)| points.get(start..end));
            let part = part.ok_or_else(|| Problem::Syntax("the parts of a shape are not in order".to_owned()))?;
            result.push((kind, part.to_vec()));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(kind: i32, ints: &[i32], points: &[Point]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; BOX_BYTES]);
        bytes.extend(ints.iter().flat_map(|int| int.to_le_bytes()));
        bytes.extend(points.iter().flatten().flat_map(|float| float.to_le_bytes()));
        bytes
    }

    #[test]
    fn shapes_become_the_geometries_that_kamu_makes() {
        let json = |bytes: &[u8]| to_json(bytes).unwrap().unwrap();
        let mut point = 11i32.to_le_bytes().to_vec();
        point.extend([1.5f64, -2.0, 9.0, 9.0].iter().flat_map(|float| float.to_le_bytes()));
        assert_eq!(json(&point), "{\"type\":\"Point\",\"coordinates\":[1.5,-2.0]}");
        assert_eq!(to_json(&0i32.to_le_bytes()).unwrap(), None);
        let points = [[0.0, 0.0], [1.0, 1.0], [f64::NAN, 2.0]];
        assert_eq!(
            json(&content(8, &[3], &points)),
            "{\"type\":\"MultiPoint\",\"coordinates\":[[0.0,0.0],[1.0,1.0],[null,2.0]]}"
        );
        assert_eq!(
            json(&content(3, &[2, 3, 0, 1], &[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])),
            "{\"type\":\"MultiLineString\",\"coordinates\":[[[0.0,0.0]],[[1.0,1.0],[2.0,2.0]]]}"
        );
        // Clockwise, counter-clockwise and not closed, clockwise.
        let outer = [[0.0, 0.0], [0.0, 4.0], [4.0, 4.0], [0.0, 0.0]];
        let hole = [[1.0, 2.0], [2.0, 3.0], [1.0, 3.0]];
        let rings: Vec<Point> = [&outer[..], &hole, &outer].concat();
        let outer_json = "[[0.0,0.0],[0.0,4.0],[4.0,4.0],[0.0,0.0]]";
        assert_eq!(
            json(&content(5, &[3, 11, 0, 4, 7], &rings)),
            format!(
                "{{\"type\":\"MultiPolygon\",\"coordinates\":[[{outer_json},[[1.0,2.0],[2.0,3.0],[1.0,3.0],[1.0,2.0]]],[{outer_json}]]}}"
            )
        );
        let patch = content(31, &[2, 8, 0, 4, 2, 3], &[outer, outer].concat());
        assert_eq!(
            json(&patch),
            format!("{{\"type\":\"MultiPolygon\",\"coordinates\":[[{outer_json},{outer_json}]]}}")
        );
    }

    #[test]
    fn bad_shapes_are_refused() {
        for (bytes, what) in [
            (content(7, &[], &[]), "there is no shape type 7"),
            (content(31, &[1, 1, 0, 0], &[[0.0, 0.0]]), "triangles"),
            (content(5, &[1, 2, 0], &[[0.0, 0.0]]), "shorter than it says"),
            (content(5, &[i32::MAX, i32::MAX], &[]), "shorter than it says"),
            (content(5, &[-1, 0], &[]), "shorter than it says"),
            (content(8, &[2], &[[0.0, 0.0]]), "shorter than it says"),
            (content(3, &[2, 1, 1, 0], &[[0.0, 0.0]]), "not in order"),
            (content(3, &[1, 1, 2], &[[0.0, 0.0]]), "not in order"),
            (content(3, &[1, 1, -1], &[[0.0, 0.0]]), "not in order"),
            (vec![1, 0], "shorter than it says"),
        ] {
            let error = to_json(&bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
