//! Rolling up lists of values.

use bucky_whisper::{Aggregation, AggregationSix};
use serde_json::{Value, json};

use crate::python::{Operations, from_bits, to_bits};
use crate::random::{Random, SEEDS};

#[test]
fn every_method_rolls_up_to_whispers_bits() {
    let mut operations = Operations::default();
    let mut cases = Vec::new();
    for seed in SEEDS {
        let mut random = Random::new(seed);
        for number in 0..400 {
            let method = Aggregation::ALL[number % 8];
            let count = 1 + random.below(12);
            let finer: Vec<Option<f64>> =
                (0..count).map(|_| (random.below(3) > 0).then(|| any_value(&mut random))).collect();
            if finer.iter().all(Option::is_none) {
                continue;
            }
            let values: Vec<Value> =
                finer.iter().map(|value| value.map_or(Value::Null, to_bits)).collect();
            operations.add(&json!({"op": "aggregate", "method": method.name(), "values": values}));
            cases.push((method, finer));
        }
    }
    for ((method, finer), answer) in cases.into_iter().zip(operations.run()) {
        let ours = method.roll_up(AggregationSix::AvgZero, &finer).unwrap();
        let theirs = from_bits(&answer["value"]).unwrap();
        // The bits of a NaN depend on the processor; whether it is a NaN does not.
        let equal = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
        assert!(equal, "{method} of {finer:?}: ours {ours:?}, theirs {theirs:?}");
    }
}

fn any_value(random: &mut Random) -> f64 {
    match random.below(10) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => f64::MAX,
        _ => random.value(),
    }
}
