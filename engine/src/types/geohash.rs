//! Positions on the globe as scores of a sorted set.
//!
//! A position is interleaved into 52 bits, which a double holds exactly: latitude in the even bits, longitude
//! in the odd ones, 26 of each, the highest first. Positions that share leading bits lie in one cell, so an
//! area is a few ranges of scores.
//!
//! | what       | from, to                        | why                                              |
//! |------------|---------------------------------|--------------------------------------------------|
//! | longitude  | -180, 180                       |                                                  |
//! | latitude   | -85.05112878, 85.05112878       | where the Mercator projection becomes a square   |
//! | `GEOHASH`  | latitude -90, 90                | what everybody else's geohash strings mean       |
//!
//! Invariants:
//! - Every operation on doubles is the one that Redis does, in its order: scores, distances and what lies
//!   just inside of an area are equal to the last bit.
//! - The score ranges of a search cover its shape; each position found must still be tested.

use smallvec::SmallVec;

use crate::number::{NumberText, format_fixed};

/// The largest and, negated, the smallest longitude.
pub const LONGITUDE_MAX: f64 = 180.0;
/// The largest and, negated, the smallest latitude.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

/// Steps of halving both ranges for a score: 52 bits.
const STEP_MAX: u32 = 26;
const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
/// Half the side of the Mercator square.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;
/// The bits of the longitude in interleaved bits.
const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A position in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

impl Position {
    /// Whether the position can be stored.
    pub fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The score of the position, an integer of 52 bits, or `None` if it is out of range.
    ///
    /// Positions on the eastern or northern edge have some bits more, which may be rounded.
    pub fn score(self) -> Option<f64> {
        self.is_valid().then(|| Cell::around(self, STEP_MAX, LATITUDE_MAX).bits as f64)
    }

    /// The middle of the cell of a score.
    pub fn from_score(score: f64) -> Self {
        let area = Cell { bits: score as u64, step: STEP_MAX }.area();
        let middle = |min: f64, max: f64, limit: f64| ((min + max) / 2.0).clamp(-limit, limit);
        Position {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The distance in meters along the surface of a sphere, by the haversine formula.
    pub fn distance(self, other: Position) -> f64 {
        let half_width = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if half_width == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let half_height = ((to - from) / 2.0).sin();
        let a = half_height * half_height + from.cos() * to.cos() * half_width * half_width;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }
}

/// The 11 characters of the standard geohash of the position with this score.
///
/// 52 bits make ten characters and two bits; the eleventh is always `0`, as in Redis.
pub fn geohash_string(score: f64) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

    let bits = Cell::around(Position::from_score(score), STEP_MAX, 90.0).bits;
    let mut text = [b'0'; 11];
    for (n, character) in text[..10].iter_mut().enumerate() {
        *character = ALPHABET[(bits >> (47 - 5 * n)) as usize & 0x1f];
    }
    text
}

/// A unit of distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `m`
    Meters,
    /// `km`
    Kilometers,
    /// `ft`
    Feet,
    /// `mi`
    Miles,
}

impl Unit {
    /// Reads the name of a unit, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [(&b"m"[..], Unit::Meters), (b"km", Unit::Kilometers), (b"ft", Unit::Feet), (b"mi", Unit::Miles)]
            .into_iter()
            .find_map(|(known, unit)| name.eq_ignore_ascii_case(known).then_some(unit))
    }

    /// How many meters it has.
    pub fn meters(self) -> f64 {
        match self {
            Unit::Meters => 1.0,
            Unit::Kilometers => 1000.0,
            Unit::Feet => 0.3048,
            Unit::Miles => 1609.34,
        }
    }

    /// Prints a distance given in meters in this unit, with four decimals.
    pub fn format(self, meters: f64) -> NumberText {
        format_fixed(meters / self.meters(), 4)
    }
}

/// What is searched, around the center of a [`Search`].
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Circle { radius: f64 },
    Rectangle { width: f64, height: f64 },
    Polygon { vertices: Vec<Position> },
}

/// A range of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lowest score.
    pub min: f64,
    /// What all scores are below.
    pub max_exclusive: f64,
}

/// A search of positions within a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    center: Position,
    shape: Shape,
    unit: Unit,
}

impl Search {
    /// All positions at most `radius` away from `center`.
    pub fn circle(center: Position, radius: f64, unit: Unit) -> Self {
        Search { center, shape: Shape::Circle { radius }, unit }
    }

    /// All positions in a rectangle along the axes around `center`.
    pub fn rectangle(center: Position, width: f64, height: f64, unit: Unit) -> Self {
        Search { center, shape: Shape::Rectangle { width, height }, unit }
    }

    /// All positions in a polygon; distances are counted from the middle of its vertices.
    ///
    /// The polygon does not reach over the date line. Its unit is the meter.
    pub fn polygon(vertices: Vec<Position>) -> Self {
        Search { center: centroid(&vertices), shape: Shape::Polygon { vertices }, unit: Unit::Meters }
    }

    /// Where distances are counted from.
    pub fn center(&self) -> Position {
        self.center
    }

    /// The unit in which the search was given.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The distance in meters from the center to a position, if that is within the shape.
    pub fn distance_if_within(&self, position: Position) -> Option<f64> {
        let meters = self.unit.meters();
        match &self.shape {
            Shape::Circle { radius } => {
                Some(self.center.distance(position)).filter(|&distance| distance <= radius * meters)
            }
            Shape::Rectangle { width, height } => {
                if latitude_distance(position.latitude, self.center.latitude) > height * meters / 2.0 {
                    return None;
                }
                // Along the parallel of the position, not of the center.
                let below_center = Position { longitude: self.center.longitude, ..position };
                if position.distance(below_center) > width * meters / 2.0 {
                    return None;
                }
                Some(self.center.distance(position))
            }
            Shape::Polygon { vertices } => {
                polygon_holds(vertices, position).then(|| self.center.distance(position))
            }
        }
    }

    /// The ranges of scores that hold all positions within the shape, and others nearby: the cell of the
    /// center and those of its eight neighbours that the shape can reach, in the order in which Redis visits
    /// them, as the order of unsorted replies is seen by clients.
    pub fn ranges(&self) -> SmallVec<[ScoreRange; 9]> {
        let bounds = self.bounds();
        // Only the middle of a polygon around a pole can be out of range.
        let center = Position {
            longitude: self.center.longitude.clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: self.center.latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX),
        };
        let mut step = steps_for_radius(self.reach_meters(&bounds), center.latitude);
        let mut cell = Cell::around(center, step, LATITUDE_MAX);
        if step > 1 && !cell.neighbours_reach(&bounds) {
            step -= 1;
            cell = Cell::around(center, step, LATITUDE_MAX);
        }
        let area = cell.area();
        // With two cells per axis the neighbours wrap around: all may be needed.
        let all = step < 2;
        let north = all || area.north <= bounds.north;
        let south = all || area.south >= bounds.south;
        let east = all || area.east <= bounds.east;
        let west = all || area.west >= bounds.west;

        let mut ranges = SmallVec::new();
        let mut last = None;
        for (needed, x, y) in [
            (true, 0, 0),
            (north, 0, 1),
            (south, 0, -1),
            (east, 1, 0),
            (west, -1, 0),
            (north && east, 1, 1),
            (north && west, -1, 1),
            (south && east, 1, -1),
            (south && west, -1, -1),
        ] {
            let neighbour = cell.neighbour(x, y);
            // In the largest searches the neighbours on both sides are the same cell.
            if needed && last != Some(neighbour) {
                ranges.push(neighbour.scores());
                last = Some(neighbour);
            }
        }
        ranges
    }

    /// The radius of a circle around the center that holds the shape.
    fn reach_meters(&self, bounds: &Area) -> f64 {
        let reach = match &self.shape {
            Shape::Circle { radius } => *radius,
            Shape::Rectangle { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Shape::Polygon { .. } => bounds
                .corners()
                .into_iter()
                .map(|corner| self.center.distance(corner))
                .fold(0.0, |longest, distance| if distance > longest { distance } else { longest }),
        };
        reach * self.unit.meters()
    }

    /// The smallest area along the axes that holds the shape; its edges may lie outside of the map.
    fn bounds(&self) -> Area {
        let meters = self.unit.meters();
        let (width, height) = match &self.shape {
            Shape::Circle { radius } => (meters * radius, meters * radius),
            Shape::Rectangle { width, height } => (meters * (width / 2.0), meters * (height / 2.0)),
            Shape::Polygon { vertices } => return Area::around(vertices),
        };
        let Position { longitude, latitude } = self.center;
        let delta_y = degrees(height / EARTH_RADIUS_METERS);
        // Parallels get shorter towards the poles: the far side from the equator decides.
        let far_latitude = if latitude < 0.0 { latitude - delta_y } else { latitude + delta_y };
        let delta_x = degrees(width / EARTH_RADIUS_METERS / radians(far_latitude).cos());
        Area {
            west: longitude - delta_x,
            east: longitude + delta_x,
            south: latitude - delta_y,
            north: latitude + delta_y,
        }
    }
}

/// Part of the map, in degrees.
#[derive(Debug, Clone, Copy)]
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Area {
    fn around(vertices: &[Position]) -> Self {
        let mut area =
            Area { west: LONGITUDE_MAX, east: -LONGITUDE_MAX, south: LATITUDE_MAX, north: -LATITUDE_MAX };
        for vertex in vertices {
            area.west = area.west.min(vertex.longitude);
            area.east = area.east.max(vertex.longitude);
            area.south = area.south.min(vertex.latitude);
            area.north = area.north.max(vertex.latitude);
        }
        area
    }

    fn corners(&self) -> [Position; 4] {
        [
            Position { longitude: self.west, latitude: self.north },
            Position { longitude: self.east, latitude: self.north },
            Position { longitude: self.west, latitude: self.south },
            Position { longitude: self.east, latitude: self.south },
        ]
    }
}

/// All positions whose first `2 * step` bits are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u32,
}

impl Cell {
    /// The cell of a position, on a map that reaches to `latitude_max`.
    fn around(position: Position, step: u32, latitude_max: f64) -> Self {
        let scale = (1u64 << step) as f64;
        let x = (position.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX + LONGITUDE_MAX);
        let y = (position.latitude + latitude_max) / (latitude_max + latitude_max);
        Cell { bits: spread((y * scale) as u32) | spread((x * scale) as u32) << 1, step }
    }

    fn area(self) -> Area {
        let scale = (1u64 << self.step) as f64;
        let edge = |n: u32, max: f64| -max + (f64::from(n) / scale) * (max + max);
        let (x, y) = (gather(self.bits >> 1), gather(self.bits));
        Area {
            west: edge(x, LONGITUDE_MAX),
            east: edge(x.wrapping_add(1), LONGITUDE_MAX),
            south: edge(y, LATITUDE_MAX),
            north: edge(y.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The scores of all positions in the cell.
    fn scores(self) -> ScoreRange {
        let shift = 2 * (STEP_MAX - self.step);
        ScoreRange { min: (self.bits << shift) as f64, max_exclusive: ((self.bits + 1) << shift) as f64 }
    }

    /// The cell `x` to the east and `y` to the north, around the edges of the map if need be.
    fn neighbour(self, x: i64, y: i64) -> Self {
        let used = u64::MAX >> (64 - 2 * self.step);
        Cell { bits: moved(self.bits, x, ODD_BITS, used) | moved(self.bits, y, !ODD_BITS, used), ..self }
    }

    /// Whether `bounds` lies within the cell and its eight neighbours.
    fn neighbours_reach(self, bounds: &Area) -> bool {
        !(self.neighbour(0, 1).area().north < bounds.north
            || self.neighbour(0, -1).area().south > bounds.south
            || self.neighbour(1, 0).area().east < bounds.east
            || self.neighbour(-1, 0).area().west > bounds.west)
    }
}

/// The bits of one axis, those of `mask`, moved by one cell or none; the bits of the other are cleared.
///
/// A longitude of exactly 180 lies in a column of its own behind the last, which only a move leaves.
fn moved(bits: u64, by: i64, mask: u64, used: u64) -> u64 {
    let axis = bits & mask;
    match by {
        0 => axis,
        // Carries run through the bits of the other axis when those are ones, borrows when they are zeros.
        1.. => (axis | !mask).wrapping_add(1) & mask & used,
        _ => axis.wrapping_sub(1) & mask & used,
    }
}

/// Moves each bit `n` to bit `2 * n`.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// Moves each bit `2 * n` to bit `n`.
fn gather(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// How often to halve the map so that a cell and its neighbours hold a circle.
fn steps_for_radius(mut radius_meters: f64, latitude: f64) -> u32 {
    if radius_meters <= 0.0 {
        return STEP_MAX;
    }
    let mut step = 1i32;
    while radius_meters < MERCATOR_MAX {
        radius_meters *= 2.0;
        step += 1;
    }
    // Twice too large is large enough in most cases.
    step -= 2;
    // Cells get narrower towards the poles.
    if latitude.abs() > 66.0 {
        step -= 1;
    }
    if latitude.abs() > 80.0 {
        step -= 1;
    }
    step.clamp(1, STEP_MAX as i32) as u32
}

/// The middle of positions: of their places in space, put back on the surface.
fn centroid(vertices: &[Position]) -> Position {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for vertex in vertices {
        let (longitude, latitude) = (radians(vertex.longitude), radians(vertex.latitude));
        x += EARTH_RADIUS_METERS * latitude.cos() * longitude.cos();
        y += EARTH_RADIUS_METERS * latitude.cos() * longitude.sin();
        z += EARTH_RADIUS_METERS * latitude.sin();
    }
    let count = vertices.len().max(1) as f64;
    let (x, y, z) = (x / count, y / count, z / count);
    Position { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2((x * x + y * y).sqrt())) }
}

/// Whether a ray to the east leaves the polygon more often than it enters it.
fn polygon_holds(vertices: &[Position], position: Position) -> bool {
    let previous = vertices.iter().cycle().skip(vertices.len().saturating_sub(1));
    let crossings = vertices.iter().zip(previous).filter(|(a, b)| {
        (a.latitude > position.latitude) != (b.latitude > position.latitude)
            && position.longitude
                < (b.longitude - a.longitude) * (position.latitude - a.latitude) / (b.latitude - a.latitude)
                    + a.longitude
    });
    crossings.count() % 2 == 1
}

/// The distance in meters along a meridian.
fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_METERS * (radians(to) - radians(from)).abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS_PER_DEGREE
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS_PER_DEGREE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::LongDouble;
    use proptest::prelude::*;

    fn at(longitude: f64, latitude: f64) -> Position {
        Position { longitude, latitude }
    }

    /// From redis-server 7.0.15: two positions and a unit; score, distance, geohash and position read back.
    #[test]
    #[rustfmt::skip]
    fn scores_and_distances_equal_those_of_a_real_server() {
        for (a, b, unit, score, distance, geohash, (longitude, latitude)) in [
            ((180.0, 85.05112878), (15.081755557112443, 37.87371183928193), Unit::Miles, 13510798882111488.0, "3933.5597", "bp05b5048p0", ("180", "85.0511287799999991")),
            ((180.0, 84.0), (-180.0, -85.05112878), Unit::Miles, 10508312945623364.0, "11683.6287", "bnbjb58p2n0", ("180", "83.99999639090967207")),
            ((179.9999999, -85.05112878), (35.77609978127006, 3.7716501581652864), Unit::Feet, 3002399751580330.0, "35681509.2397", "pbzupuzvrb0", ("179.99999731779098511", "-85.05112751263942528")),
            ((179.9999999, 85.05112878), (14.18357582545544, 38.74077126887563), Unit::Kilometers, 7505999378950826.0, "6236.0769", "zzpgzgpfxz0", ("179.99999731779098511", "85.0511287799999991")),
            ((180.0, 0.0), (15.644358404772545, 38.202711563896585), Unit::Miles, 10133099161583616.0, "9618.8369", "80000000000", ("180", "0.00000126736058093")),
            ((13.258371185949107, 38.644346958087546), (90.0, 66.5), Unit::Kilometers, 3479279156096591.0, "5550.2593", "sqc7vdyrwk0", ("13.25837105512619019", "38.64434738903643307")),
            ((-117.9503633360128, 62.277764332477346), (-17.111153654119136, -35.03764866529234), Unit::Miles, 1582285260982488.0, "8669.4846", "c7h47cr4m20", ("-117.95036405324935913", "62.27776556912557737")),
            ((13.912536898715645, 37.001371360859245), (166.2581813172647, -76.00185944350824), Unit::Kilometers, 3476100766033141.0, "15463.9829", "sq9fkxfu9e0", ("13.91253501176834106", "37.00137155020683366")),
            ((87.37242935734594, -0.5785401103880901), (0.0, 66.5), Unit::Meters, 2814546833611971.0, "9952887.4288", "mzyhsnwtv00", ("87.37243026494979858", "-0.57854123309505923")),
            ((0.0, 0.0), (19.92050106870576, 44.64139202588106), Unit::Miles, 3377699720527872.0, "3318.4080", "s0000000000", ("0.00000268220901489", "0.00000126736058093")),
            ((26.997732606241044, 76.88175396887559), (-53.62432068372999, -46.649444748130996), Unit::Kilometers, 3783372024188216.0, "14800.1214", "utejq7ghsv0", ("26.99773460626602173", "76.88175416746504709")),
            ((-80.57561323651322, -22.353298739368206), (-2.381027491761131, 84.28812029323302), Unit::Meters, 870580022516802.0, "12354508.0888", "6hn8y6wws50", ("-80.5756106972694397", "-22.35329908146413658")),
            ((-99.05375918031417, 64.03873210286312), (179.9999999, 66.5), Unit::Feet, 1662638927606100.0, "11520901.5629", "cg3s3czk8j0", ("-99.05376166105270386", "64.03873267792239687")),
            ((-46.44611050769248, -21.184557971941366), (47.352348428204095, 39.17361327443811), Unit::Miles, 961569043835603.0, "7328.1133", "6unzrp6zp00", ("-46.4461103081703186", "-21.18455689794106078")),
        ] {
            let (a, b) = (at(a.0, a.1), at(b.0, b.1));
            let (a_score, b_score) = (a.score().unwrap(), b.score().unwrap());
            assert_eq!(a_score, score, "{a:?}");
            let (a, b) = (Position::from_score(a_score), Position::from_score(b_score));
            assert_eq!(unit.format(a.distance(b)).as_str(), distance);
            assert_eq!(geohash_string(a_score), geohash.as_bytes());
            assert_eq!(LongDouble::from(a.longitude).format_human(), longitude.as_bytes());
            assert_eq!(LongDouble::from(a.latitude).format_human(), latitude.as_bytes());
        }
    }

    /// The example of Redis's own documentation: Palermo and Catania around Sicily's middle.
    #[test]
    fn palermo_and_catania_are_found() {
        let palermo = at(13.361389, 38.115556).score().unwrap();
        let catania = at(15.087269, 37.502669).score().unwrap();
        assert_eq!((palermo, catania), (3479099956230698.0, 3479447370796909.0));
        let distance = |search: Search, score| {
            search
                .distance_if_within(Position::from_score(score))
                .map(|d| search.unit().format(d).as_str().to_owned())
        };
        let circle = Search::circle(at(15.0, 37.0), 200.0, Unit::Kilometers);
        assert_eq!(distance(circle.clone(), palermo).unwrap(), "190.4424");
        assert_eq!(distance(circle, catania).unwrap(), "56.4413");
        let narrow = Search::rectangle(at(15.0, 37.0), 200.0, 400.0, Unit::Kilometers);
        assert_eq!(distance(narrow.clone(), palermo), None);
        assert_eq!(distance(narrow, catania).unwrap(), "56.4413");
    }

    #[test]
    fn polygons_hold_what_is_inside() {
        let triangle = Search::polygon(vec![at(0.0, 0.0), at(10.0, 0.0), at(0.0, 10.0)]);
        assert!(triangle.distance_if_within(at(2.0, 2.0)).is_some());
        assert!(triangle.distance_if_within(at(6.0, 6.0)).is_none());
        assert!(triangle.distance_if_within(at(-1.0, 1.0)).is_none());
        let center = triangle.center();
        assert!(
            (3.0..3.6).contains(&center.longitude) && (3.0..3.6).contains(&center.latitude),
            "{center:?}"
        );
        assert!(Search::polygon(vec![]).distance_if_within(center).is_none());
    }

    #[test]
    fn positions_off_the_map_have_no_score() {
        assert_eq!(at(180.1, 0.0).score(), None);
        assert_eq!(at(0.0, -85.06).score(), None);
        assert_eq!(at(f64::NAN, 0.0).score(), None);
    }

    #[test]
    fn units_are_known_in_any_case() {
        for (name, meters) in [("m", 1.0), ("KM", 1000.0), ("Ft", 0.3048), ("mi", 1609.34)] {
            assert_eq!(Unit::parse(name.as_bytes()).map(Unit::meters), Some(meters));
        }
        assert_eq!(Unit::parse(b"yd"), None);
    }

    #[test]
    fn neighbours_wrap_around() {
        let corner = Cell { bits: 0, step: 2 };
        assert_eq!(corner.neighbour(-1, 0).bits, 0b1010);
        assert_eq!(corner.neighbour(0, -1).bits, 0b0101);
        assert_eq!(corner.neighbour(-1, -1).bits, 0b1111);
        assert_eq!(Cell { bits: 0b1111, step: 2 }.neighbour(1, 1).bits, 0);
    }

    /// What a search must find, away from poles and date line, where also Redis misses some.
    fn found(search: &Search, position: Position) -> bool {
        let score = position.score().unwrap();
        search.ranges().iter().any(|range| (range.min..range.max_exclusive).contains(&score))
    }

    proptest! {
        #[test]
        fn bits_spread_and_gather(bits: u32, other: u32) {
            prop_assert_eq!(gather(spread(bits) | spread(other) << 1), bits);
            prop_assert_eq!(gather((spread(bits) | spread(other) << 1) >> 1), other);
        }

        #[test]
        fn neighbours_are_next_to_each_other(x in 0u32..1 << 20, y in 0u32..1 << 20, dx in -1i64..2, dy in -1i64..2) {
            let cell = Cell { bits: spread(y) | spread(x) << 1, step: 20 };
            let moved = cell.neighbour(dx, dy);
            prop_assert_eq!(i64::from(gather(moved.bits >> 1)), (i64::from(x) + dx) & 0xf_ffff);
            prop_assert_eq!(i64::from(gather(moved.bits)), (i64::from(y) + dy) & 0xf_ffff);
        }

        #[test]
        fn positions_come_back_nearly(x in -180.0..180.0, y in -85.05..85.05) {
            let back = Position::from_score(at(x, y).score().unwrap());
            prop_assert!((back.longitude - x).abs() < 3e-6 && (back.latitude - y).abs() < 2e-6);
            prop_assert!(back.distance(at(x, y)) < 1.0);
        }

        #[test]
        fn ranges_cover_the_shape(
            x in -80.0..80.0, y in -60.0..60.0, dx in -8.0..8.0, dy in -8.0..8.0,
            size in 1.0..900_000.0, height in 1.0..900_000.0,
        ) {
            let position = at(x + dx, y + dy);
            for search in [
                Search::circle(at(x, y), size, Unit::Meters),
                Search::rectangle(at(x, y), size, height, Unit::Meters),
                Search::polygon(vec![at(x, y), at(x + 9.0, y), at(x + 4.0, y + 5.0), at(x - 3.0, y + 7.0)]),
            ] {
                if search.distance_if_within(position).is_some() {
                    prop_assert!(found(&search, position), "{:?} misses {:?}", search, position);
                }
            }
        }

        #[test]
        fn no_search_panics(x: f64, y: f64, size: f64, score: f64) {
            let searches = [
                Search::circle(at(x, y), size, Unit::Miles),
                Search::rectangle(at(x, y), size, size, Unit::Feet),
                Search::polygon(vec![at(x, y), at(size, x), at(y, size)]),
            ];
            for search in searches {
                prop_assert!(search.ranges().len() <= 9);
                search.distance_if_within(Position::from_score(score));
            }
            geohash_string(score);
        }
    }
}
