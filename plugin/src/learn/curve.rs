//! A curve of few points, however long it becomes.

/// Most points of one; a power of two.
const MOST: usize = 256;

/// Means of so many neighbours each that there are at most 256 of them.
#[derive(Debug, Default)]
pub(super) struct Curve {
    points: Vec<[f32; 2]>,
    /// Binary logarithm of how many values a point is the mean of.
    level: u32,
    sum: f64,
    count: u64,
}

impl Curve {
    pub fn push(&mut self, x: f32, y: f32) {
        self.sum += f64::from(y);
        self.count += 1;
        if self.count < 1 << self.level {
            return;
        }
        self.points.push([x, (self.sum / self.count as f64) as f32]);
        (self.sum, self.count) = (0.0, 0);
        if self.points.len() == MOST {
            let pairs = self.points.as_chunks::<2>().0.iter();
            self.points = pairs.map(|[a, b]| [b[0], 0.5 * (a[1] + b[1])]).collect();
            self.level += 1;
        }
    }

    pub fn points(&self) -> &[[f32; 2]] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_means_of_all_in_few_points() {
        let mut curve = Curve::default();
        for i in 1..=100 {
            curve.push(i as f32, 3.0);
        }
        assert_eq!(
            (curve.points().len(), curve.points()[99]),
            (100, [100.0, 3.0])
        );
        for i in 101..=4096 {
            curve.push(i as f32, if i % 2 == 0 { 1.0 } else { 5.0 });
        }
        let points = curve.points();
        assert!((MOST / 2..MOST).contains(&points.len()), "{}", points.len());
        assert_eq!(points.last(), Some(&[4096.0, 3.0]));
        assert!(points.iter().all(|point| (point[1] - 3.0).abs() < 1e-6));
        assert!(points.is_sorted_by(|a, b| a[0] < b[0]));
    }
}
