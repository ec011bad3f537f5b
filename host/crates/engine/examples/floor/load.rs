//! What both programs share: their arguments, the inputs, the callers and the report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a program is to do.
pub(crate) struct Args {
    /// The ONNX file.
    pub(crate) model: PathBuf,
    /// Threads that run the model at the same time.
    pub(crate) callers: usize,
    /// Threads of one operator; by default as the program thinks best.
    pub(crate) threads: Option<usize>,
    /// Rows of a request.
    pub(crate) batch: u64,
    /// How long to measure.
    pub(crate) time: Duration,
    /// `cpu` or `cuda:0`.
    pub(crate) device: String,
    /// Where the engine writes the outputs of one request, for a comparison.
    pub(crate) dump: Option<PathBuf>,
}

impl Args {
    /// Reads the command line. Says how it is used, and ends the program, where it is wrong.
    pub(crate) fn parse() -> Self {
        Self::read(std::env::args().skip(1)).unwrap_or_else(|why| {
            eprintln!(
                "{why}\nusage: MODEL.onnx [--callers N] [--threads N] [--batch N] [--seconds N] [--device cpu|cuda:0] \
                 [--dump FILE]"
            );
            std::process::exit(2)
        })
    }

    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            model: words.next().ok_or("no model is given")?.into(),
            callers: 1,
            threads: None,
            batch: 1,
            time: Duration::from_secs(3),
            device: "cpu".to_owned(),
            dump: None,
        };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or(format!("{flag} takes a value"))?;
            let number = || {
                let number = value.parse::<u32>().ok().filter(|number| *number > 0);
                number.ok_or(format!("{flag} takes a number from 1"))
            };
            match flag.as_str() {
                "--callers" => args.callers = number()? as usize,
                "--threads" => args.threads = Some(number()? as usize),
                "--batch" => args.batch = u64::from(number()?),
                "--seconds" => args.time = Duration::from_secs(u64::from(number()?)),
                "--device" => args.device = value,
                "--dump" => args.dump = Some(value.into()),
                _ => return Err(format!("there is no {flag}")),
            }
        }
        Ok(args)
    }
}

/// The dimensions of an input: the batch first, where it is free, and 1 for what else is.
pub(crate) fn shape(dimensions: impl Iterator<Item = Option<u64>>, batch: u64) -> Vec<u64> {
    dimensions
        .enumerate()
        .map(|(index, fixed)| fixed.unwrap_or(if index == 0 { batch } else { 1 }))
        .collect()
}

/// The numbers that every program gives a model: a ramp that comes again.
pub(crate) fn ramp(elements: u64) -> Vec<f32> {
    (0..elements)
        .map(|index| (index * 7 % 256) as f32 / 256.0)
        .collect()
}

/// Runs a model from several threads for some time, and prints `runs_per_second=`, `p50_us=` and `p99_us=`. Each caller makes
/// its own `run`.
pub(crate) fn measure<R: FnMut()>(args: &Args, caller: impl Fn() -> R + Sync) {
    let began = Instant::now();
    let end = began + args.time;
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..args.callers)
            .map(|_| {
                scope.spawn(|| {
                    let mut run = caller();
                    let mut times = Vec::new();
                    loop {
                        let started = Instant::now();
                        if started >= end {
                            return times;
                        }
                        run();
                        times.push(started.elapsed());
                    }
                })
            })
            .collect();
        let joined = callers.into_iter().map(|caller| caller.join());
        joined
            .flat_map(|times| times.expect("a caller does not panic"))
            .collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    println!("runs_per_second={:.1}", times.len() as f64 / seconds);
    println!("p50_us={:.1}", at(50));
    println!("p99_us={:.1}", at(99));
}
