//! Requests that a model runs before it serves.

use wharf_core::Result;
use wharf_serving::SettingValue;

use super::Edits;
use super::tensors::{Claim, Claims, Side, known_type};
use crate::oip::repository::fields::Field;

pub(super) fn samples(samples: Field, claims: &mut Claims, edits: &mut Edits) -> Result<()> {
    let samples = samples.list()?;
    if samples.is_empty() {
        return Ok(());
    }
    let samples = samples
        .into_iter()
        .map(|field| sample(field, claims))
        .collect::<Result<_>>()?;
    edits.set("warmup.samples", SettingValue::List(samples));
    Ok(())
}

fn sample(sample: Field, claims: &mut Claims) -> Result<SettingValue> {
    let mut sample = sample.object()?;
    // It only tells samples apart in Triton's log.
    drop(sample.take("name"));
    let rows = sample
        .take("batch_size")
        .map_or(Ok(0), |rows| rows.number())?;
    let count = sample
        .take("count")
        .map_or(Ok(1), |count| count.number())?
        .max(1);
    let mut inputs = Vec::new();
    if let Some(fields) = sample.take("inputs") {
        for (name, field) in fields.object()?.rest() {
            inputs.push((name.clone(), input(&name, rows, field, claims)?));
        }
    }
    sample.finish()?;
    Ok(SettingValue::Table(vec![
        ("count".to_owned(), SettingValue::Integer(count)),
        ("inputs".to_owned(), SettingValue::Table(inputs)),
    ]))
}

fn input(name: &str, rows: i64, field: Field, claims: &mut Claims) -> Result<SettingValue> {
    let path = field.path().to_owned();
    let mut field = field.object()?;
    let data_type = field.take("data_type").map(known_type).transpose()?;
    claims.add(Claim {
        path,
        side: Side::Input,
        name: name.to_owned(),
        data_type,
        dims: None,
    });
    let dims = field.take("dims").map_or(Ok(Vec::new()), Field::numbers)?;
    let rows = (rows > 0).then_some(rows);
    let shape = rows.into_iter().chain(dims).map(SettingValue::Integer);
    let kinds = (
        field.take("zero_data"),
        field.take("random_data"),
        field.take("input_data_file"),
    );
    let data = match kinds {
        (Some(_), None, None) => "zeros".to_owned(),
        (None, Some(_), None) => "random".to_owned(),
        // Triton keeps these files in a folder of this name.
        (None, None, Some(file)) => format!("warmup/{}", file.text()?),
        _ => return Err(field.wrong("has one of zero_data, random_data and input_data_file")),
    };
    field.finish()?;
    Ok(SettingValue::Table(vec![
        ("shape".to_owned(), SettingValue::List(shape.collect())),
        ("data".to_owned(), SettingValue::Text(data)),
    ]))
}
