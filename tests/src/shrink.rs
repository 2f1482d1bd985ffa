//! Makes a failing sequence of steps small: leaves out what is not needed to fail.
//!
//! Used by the random models. Each step is drawn from a seed of its own, so that it means the same
//! whichever others are left out.

/// Tries to leave out halves, quarters, and so on down to single steps, at most `tries_max` times.
/// What is returned fails, if `steps` does.
pub fn shrink(
    steps: &[usize],
    tries_max: usize,
    mut fails: impl FnMut(&[usize]) -> bool,
) -> Vec<usize> {
    let (mut left, mut tries) = (steps.to_vec(), 0);
    let mut piece = left.len() / 2;
    while piece > 0 {
        // From the end: what comes after the failure goes first.
        let mut end = left.len();
        while end > 0 {
            if tries == tries_max {
                return left;
            }
            tries += 1;
            let start = end.saturating_sub(piece);
            let fewer = [&left[..start], &left[end..]].concat();
            if fails(&fewer) {
                left = fewer;
            }
            end = start;
        }
        piece /= 2;
    }
    left
}

/// Steps as `RAMGRID_STEPS` takes them.
pub fn show(steps: &[usize]) -> String {
    let words: Vec<String> = steps.iter().map(usize::to_string).collect();
    words.join(",")
}

/// The steps named by `RAMGRID_STEPS`; without it, all below `count`.
pub fn steps_or(count: usize) -> Vec<usize> {
    let Ok(named) = std::env::var("RAMGRID_STEPS") else {
        return (0..count).collect();
    };
    let number = |word: &str| {
        word.trim()
            .parse()
            .expect("RAMGRID_STEPS is a list of numbers")
    };
    named.split(',').map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let steps: Vec<usize> = (0..1000).collect();
        let needs = |some: &[usize]| some.contains(&7) && some.contains(&900);
        assert_eq!(shrink(&steps, 1000, needs), [7, 900]);
    }

    #[test]
    fn tries_are_bounded() {
        let mut tries = 0;
        let steps: Vec<usize> = (0..1000).collect();
        let left = shrink(&steps, 5, |some| {
            tries += 1;
            some.contains(&3)
        });
        assert!(tries == 5 && left.contains(&3) && left.len() == 125);
    }
}
