//! Two things that take turns, so that what else happens on the machine meets both.

/// What a yardstick and a subject cost, a pair for each turn.
pub struct Turns(pub Vec<(f64, f64)>);

impl Turns {
    /// `rounds` turns, the first of which warms up and does not count. Each of the two returns what one operation cost it;
    /// who begins changes.
    pub fn take(rounds: usize, mut yardstick: impl FnMut() -> f64, mut subject: impl FnMut() -> f64) -> Self {
        let turn = |round: usize| {
            if round.is_multiple_of(2) {
                let first = yardstick();
                (first, subject())
            } else {
                let first = subject();
                (yardstick(), first)
            }
        };
        Self((0..=rounds).map(turn).skip(1).collect())
    }

    /// The median of the turns' ratios, subject to yardstick.
    pub fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(yardstick, subject)| subject / yardstick).collect())
    }

    pub fn yardstick(&self) -> f64 {
        median(self.0.iter().map(|(yardstick, _)| *yardstick).collect())
    }

    pub fn subject(&self) -> f64 {
        median(self.0.iter().map(|(_, subject)| *subject).collect())
    }

    /// From the lowest to the highest ratio.
    pub fn span(&self) -> String {
        let ratios: Vec<f64> = self.0.iter().map(|(yardstick, subject)| subject / yardstick).collect();
        let (low, high) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        format!("{low:.2} to {high:.2} in {} turns", ratios.len())
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
