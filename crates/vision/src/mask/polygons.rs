//! Masks as polygons: the outlines of what hangs together, along the edges of the pixels.
//!
//! Corners of pixels have whole numbers, so filling a polygon again gives exactly the pixels it was made from.
//! COCO's polygons know no holes: here the outline runs to each hole and back along the same line, so that the
//! hole stays empty however the polygon is filled.
//!
//! Outlines are walked with the class on the right. What touches by a corner alone hangs together, as in
//! `OpenCV`'s `findContours`, so a thin diagonal line is one polygon.

use super::{MaskError, check_size};

/// What hangs together of one class: pixels that touch each other by a side or a corner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polygon {
    /// The class.
    pub class: u8,
    /// Corners of pixels as `[x, y]`, `[0, 0]` being the mask's top left corner; clockwise, not closed.
    pub points: Vec<[u32; 2]>,
    /// The smallest box around it, as COCO writes it: left, top, width, height.
    pub bbox: [u32; 4],
    /// Its pixels, holes left out.
    pub area: u64,
}

/// The polygons of `mask` (`width * height` bytes, row by row), of every class or of `only` one, in the order
/// in which their first pixels stand in the mask.
///
/// # Errors
/// Where the length is not the size.
pub fn polygons(
    mask: &[u8],
    width: u32,
    height: u32,
    only: Option<u8>,
) -> Result<Vec<Polygon>, MaskError> {
    check_size(mask, width, height)?;
    let mut tracer = Tracer::new(mask, width, height, only);
    let mut outlines = Vec::new();
    for y in 0..height {
        for edge in tracer.edges.row(y) {
            if tracer.edges.corner_before[edge] == UNSEEN {
                let x = tracer.edges.columns[edge];
                let first = tracer.walk(x, y);
                if tracer.doubled_area(first) < 0 {
                    tracer.join_hole(first);
                } else {
                    outlines.push((first, mask[y as usize * width as usize + x as usize]));
                }
            }
        }
    }
    Ok(outlines.into_iter().map(|(first, class)| tracer.polygon(first, class)).collect())
}

/// No outline has come along this edge yet.
const UNSEEN: usize = usize::MAX;

/// A way along the edges of pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    North,
    East,
    South,
    West,
}

impl Heading {
    fn right(self) -> Self {
        match self {
            Self::North => Self::East,
            Self::East => Self::South,
            Self::South => Self::West,
            Self::West => Self::North,
        }
    }

    fn left(self) -> Self {
        self.right().right().right()
    }

    /// The pixels ahead of a corner, to the left and to the right, relative to the one below and right of it.
    fn ahead(self) -> [[i64; 2]; 2] {
        let (north_west, north_east, south_east, south_west) = ([-1, -1], [0, -1], [0, 0], [-1, 0]);
        match self {
            Self::North => [north_west, north_east],
            Self::East => [north_east, south_east],
            Self::South => [south_east, south_west],
            Self::West => [south_west, north_west],
        }
    }
}

/// The left edges of pixels whose left neighbour is of another class. An outline goes north along them, and
/// every outline has some, so they tell which outlines have been walked; and the start of every run of pixels
/// is found in them.
struct Edges {
    /// Where the edges of each row begin, and where the last row's end.
    rows: Vec<usize>,
    columns: Vec<u32>,
    /// The corner that the outline left before it came to the edge.
    corner_before: Vec<usize>,
}

impl Edges {
    fn row(&self, y: u32) -> std::ops::Range<usize> {
        self.rows[y as usize]..self.rows[y as usize + 1]
    }

    /// The last edge of a row that is not to the right of `x`.
    fn at_or_before(&self, x: u32, y: u32) -> usize {
        let row = self.row(y);
        row.start + self.columns[row.clone()].partition_point(|column| *column <= x) - 1
    }
}

/// Outlines as rings of corners: each corner knows the next one.
struct Tracer<'a> {
    mask: &'a [u8],
    width: u32,
    height: u32,
    edges: Edges,
    corners: Vec<[u32; 2]>,
    next: Vec<usize>,
}

impl<'a> Tracer<'a> {
    fn new(mask: &'a [u8], width: u32, height: u32, only: Option<u8>) -> Self {
        let mut rows = vec![0];
        let mut columns = Vec::new();
        for row in mask.chunks_exact(width as usize) {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                if only.is_none_or(|class| class == run[0]) {
                    columns.push(x);
                }
                x += length(run);
            }
            rows.push(columns.len());
        }
        let corner_before = vec![UNSEEN; columns.len()];
        let edges = Edges { rows, columns, corner_before };
        Self { mask, width, height, edges, corners: Vec::new(), next: Vec::new() }
    }

    fn class(&self, x: i64, y: i64) -> Option<u8> {
        let (x, y) = (u32::try_from(x).ok()?, u32::try_from(y).ok()?);
        let inside = x < self.width && y < self.height;
        inside.then(|| self.mask[y as usize * self.width as usize + x as usize])
    }

    /// Walks around the outline that has the left edge of this pixel, and gives its first corner.
    fn walk(&mut self, x: u32, y: u32) -> usize {
        let class = self.class(i64::from(x), i64::from(y));
        let first = self.corners.len();
        let start = [x, y];
        let (mut at, mut heading) = (start, Heading::North);
        loop {
            let [left, right] = heading
                .ahead()
                .map(|[dx, dy]| self.class(i64::from(at[0]) + dx, i64::from(at[1]) + dy) == class);
            let turned = match (left, right) {
                (true, _) => heading.left(),
                (false, true) => heading,
                (false, false) => heading.right(),
            };
            if turned != heading {
                self.corners.push(at);
                self.next.push(self.corners.len());
                heading = turned;
            }
            match heading {
                Heading::North => {
                    at[1] -= 1;
                    let edge = self.edges.at_or_before(at[0], at[1]);
                    self.edges.corner_before[edge] = self.corners.len() - 1;
                }
                Heading::East => at[0] += 1,
                Heading::South => at[1] += 1,
                Heading::West => at[0] -= 1,
            }
            if at == start && heading == Heading::North {
                break;
            }
        }
        // The ring closes.
        if let Some(last) = self.next.last_mut() {
            *last = first;
        }
        first
    }

    /// The corners of a ring, each once.
    fn ring(&self, first: usize) -> impl Iterator<Item = usize> {
        let mut at = Some(first);
        std::iter::from_fn(move || {
            let corner = at?;
            at = Some(self.next[corner]).filter(|next| *next != first);
            Some(corner)
        })
    }

    /// Twice the area inside a ring; below zero around a hole, which is walked against the clock.
    fn doubled_area(&self, first: usize) -> i64 {
        let term = |corner: usize| {
            let ([x, y], [next_x, next_y]) =
                (self.corners[corner], self.corners[self.next[corner]]);
            i64::from(x) * i64::from(next_y) - i64::from(next_x) * i64::from(y)
        };
        self.ring(first).map(term).sum()
    }

    /// Joins the ring around a hole with the ring to its left, by a line there and back along the hole's
    /// upper edge. That ring, another hole's or the outermost, begins higher or further left, so it was
    /// walked before.
    fn join_hole(&mut self, first: usize) {
        let highest = |corner: &usize| {
            let [x, y] = self.corners[*corner];
            [y, x]
        };
        let top = self.ring(first).min_by_key(highest).unwrap_or(first);
        let [x, y] = self.corners[top];
        // Above and to the left of the hole's first pixel the class goes on: where do those runs begin?
        let above = self.edges.at_or_before(x, y - 1);
        let beside = self.edges.at_or_before(x - 1, y);
        let edge =
            if self.edges.columns[above] < self.edges.columns[beside] { beside } else { above };
        let before = self.edges.corner_before[edge];
        let meeting = [self.edges.columns[edge], y];
        // before -> there -> copy of top -> ... -> top -> back -> what followed before.
        let there = self.corners.len();
        let (copy, back) = (there + 1, there + 2);
        self.corners.extend([meeting, [x, y], meeting]);
        self.next.extend([copy, self.next[top], self.next[before]]);
        self.next[before] = there;
        self.next[top] = back;
    }

    fn polygon(&self, first: usize, class: u8) -> Polygon {
        let mut points: Vec<[u32; 2]> = self.ring(first).map(|c| self.corners[c]).collect();
        // A line to a hole may begin at a corner, or have no length.
        points.dedup();
        if points.first() == points.last() {
            points.pop();
        }
        let (mut low, mut high) = ([u32::MAX; 2], [0; 2]);
        for point in &points {
            for side in 0..2 {
                low[side] = low[side].min(point[side]);
                high[side] = high[side].max(point[side]);
            }
        }
        let bbox = [low[0], low[1], high[0] - low[0], high[1] - low[1]];
        Polygon { class, points, bbox, area: self.doubled_area(first).unsigned_abs() / 2 }
    }
}

fn length(run: &[u8]) -> u32 {
    u32::try_from(run.len()).unwrap_or(u32::MAX)
}
