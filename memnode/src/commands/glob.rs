//! Patterns as Redis has them: `*`, `?`, `[a-z]`, `[^a]`, `\` before what is meant as it is.
//!
//! Called by SCAN, KEYS and CONFIG GET. The time is bounded by the product of both lengths,
//! whatever the pattern.

/// Does the whole of `text` match?
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on if the latest star has to swallow one byte more.
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
            continue;
        }
        match one(&pattern[p..], text[t]) {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// If the pattern's next piece matches this byte: how long the piece is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (used, inside) = in_class(class, byte);
            inside.then_some(used + 1)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [plain, ..] => (*plain == byte).then_some(1),
    }
}

/// How long the class is, its `]` included (or to the end, as in Redis), and whether it has `byte`.
fn in_class(class: &[u8], byte: u8) -> (usize, bool) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut inside = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                inside |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                inside |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                inside |= *plain == byte;
                at += 1;
            }
        }
    }
    (at, inside != negated)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, text) in [
            ("save", "save"),
            ("*", ""),
            ("*", "x"),
            ("max*", "maxmemory"),
            ("*y*y", "xyzy"),
            ("s?ve", "save"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("a\\*b", "a*b"),
            ("a[\\]]b", "a]b"),
            ("[ab", "a"),
        ] {
            assert!(
                matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
        for (pattern, text) in [
            ("save", "saves"),
            ("", "x"),
            ("max*y", "maxmemor"),
            ("?", ""),
            ("h[^a]llo", "hallo"),
            ("a\\*b", "axb"),
            ("[ab]", "c"),
        ] {
            assert!(
                !matches(pattern.as_bytes(), text.as_bytes()),
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_does_not_take_for_ever() {
        let pattern = "*a".repeat(500);
        assert!(!matches(pattern.as_bytes(), "a".repeat(499).as_bytes()));
    }
}
