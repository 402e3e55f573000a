//! Choices for texts that are made at random: mostly usual, now and then odd.

/// One of `choices`, each equally often.
///
/// # Panics
/// If there are none.
pub fn pick<'a>(random: &mut fastrand::Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(..choices.len())]
}

/// `usual`, and one time in 12 one of the others.
///
/// # Panics
/// If there are no others.
pub fn mostly<'a>(random: &mut fastrand::Rng, usual: &'a str, odd: &[&'a str]) -> &'a str {
    if random.u8(..12) == 0 { pick(random, odd) } else { usual }
}
