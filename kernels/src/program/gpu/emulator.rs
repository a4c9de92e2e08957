//! Commands run on the CPU by `emulate.cpp`, for tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::OnceLock;

use candle_core::Result;

use super::super::Program;
use super::super::plan::Kind;
use super::commands::{Argument, Buffer, Cell, Command, Element, Matrix, Place};
use super::lower::lower;

/// What a buffer begins with.
pub(super) enum Contents {
    Bytes(Vec<u8>),
    /// Rubbish of this many bytes.
    Length(usize),
}

/// What is to be done, as the words that the emulator reads.
#[derive(Default)]
pub(super) struct Stream {
    words: Vec<u8>,
    buffers: Vec<Buffer>,
}

impl Stream {
    fn word(&mut self, word: u64) {
        self.words.extend(word.to_ne_bytes());
    }

    fn size(&mut self, n: usize) {
        self.word(n as u64);
    }

    fn place(&mut self, place: Option<Place>) {
        let Some(place) = place else {
            self.word(u64::MAX);
            return self.word(0);
        };
        let buffer = self.buffers.iter().position(|&found| found == place.buffer);
        self.size(buffer.expect("a known buffer"));
        self.size(place.byte);
    }

    pub fn buffer(&mut self, buffer: Buffer, contents: Contents) {
        match contents {
            Contents::Bytes(bytes) => {
                self.word(u64::from(b'b'));
                self.size(bytes.len());
                self.words.extend(bytes);
            }
            Contents::Length(bytes) => {
                self.word(u64::from(b'n'));
                self.size(bytes);
            }
        }
        self.buffers.push(buffer);
    }

    pub fn table(&mut self, buffer: Buffer, cells: &[Cell]) {
        self.word(u64::from(b't'));
        self.size(cells.len());
        for cell in cells {
            match *cell {
                Cell::Place(place) => {
                    self.word(1);
                    self.place(Some(place));
                }
                Cell::Number(n) => {
                    self.word(0);
                    self.size(n);
                }
            }
        }
        self.buffers.push(buffer);
    }

    pub fn command(&mut self, command: &Command) {
        match command {
            Command::Launch(launch) => {
                self.word(u64::from(b'l'));
                self.size(launch.kernel.len());
                self.words.extend(launch.kernel.as_bytes());
                launch.grid.iter().for_each(|&n| self.size(n));
                self.size(launch.block);
                self.size(launch.arguments.len());
                for argument in &launch.arguments {
                    match *argument {
                        Argument::Place(place) => {
                            self.word(1);
                            self.place(Some(place));
                        }
                        Argument::Null => {
                            self.word(1);
                            self.place(None);
                        }
                        Argument::U32(n) => {
                            self.word(0);
                            self.word(u64::from(n));
                        }
                        Argument::F32(x) => {
                            self.word(0);
                            self.word(u64::from(x.to_bits()));
                        }
                    }
                }
            }
            Command::Product(product) => {
                self.word(u64::from(b'p'));
                [product.m, product.n, product.k]
                    .into_iter()
                    .for_each(|n| self.size(n));
                for Matrix { place, transposed } in [product.a, product.b] {
                    self.place(Some(place));
                    self.word(u64::from(transposed));
                }
                self.word(u64::from(product.element == Element::Bf16));
                self.place(product.bias);
                self.place(product.c);
                self.place(Some(product.d));
                self.word(u64::from(product.out == Element::Bf16));
            }
        }
    }

    pub fn wanted(&mut self, buffer: Buffer) {
        self.word(u64::from(b'w'));
        let at = self.buffers.iter().position(|&found| found == buffer);
        self.size(at.expect("a known buffer"));
    }

    /// All wanted buffers, as f32, one after the other.
    pub fn run(mut self) -> Vec<f32> {
        self.word(u64::from(b'e'));
        let mut process = Process::new(emulator())
            // A coroutine leaves its stack for good where a kernel ends.
            .env(
                "ASAN_OPTIONS",
                "detect_leaks=0:detect_stack_use_after_return=0",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the emulator was built");
        let mut input = process.stdin.take().expect("piped");
        let words = self.words;
        let writer = std::thread::spawn(move || input.write_all(&words));
        let output = process.wait_with_output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the emulator failed: {}\n{said}",
            output.status
        );
        writer.join().expect("no panic").expect("it reads all");
        let numbers = output.stdout.chunks_exact(4);
        numbers
            .map(|x| f32::from_ne_bytes(x.try_into().expect("four bytes")))
            .collect()
    }
}

/// Names of all kernels in the source.
pub(super) fn kernel_names() -> Vec<String> {
    let source = include_str!("kernels.cu");
    let mut names = Vec::new();
    for (at, marker) in source.match_indices("extern \"C\" __global__ void ") {
        let name = source[at + marker.len()..]
            .split('(')
            .next()
            .unwrap_or_default();
        match name.strip_suffix("##NAME") {
            Some(name) => names.extend(["f32", "bf16"].map(|element| format!("{name}{element}"))),
            None => names.push(name.to_owned()),
        }
    }
    names
}

/// The emulator, built once for each version of its sources.
fn emulator() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/program/gpu");
        let tests = std::env::current_exe().expect("a test has a file");
        let folder = tests.with_extension("emulator");
        std::fs::create_dir_all(&folder).expect("a folder for the emulator");
        let names = kernel_names()
            .into_iter()
            .map(|name| format!("KERNEL({name})\n"));
        std::fs::write(folder.join("names.inc"), names.collect::<String>()).expect("a file");
        let program = folder.join("emulate");
        let built = Process::new("c++")
            .args([
                "-std=c++17",
                "-O1",
                "-g",
                "-fsanitize=address,undefined",
                "-w",
                "-I",
            ])
            .arg(&folder)
            .arg("-o")
            .arg(&program)
            .arg(source.join("emulate.cpp"))
            .status()
            .expect("a C++ compiler, `c++`, which setup.sh installs");
        assert!(built.success(), "emulate.cpp does not compile");
        program
    })
}

/// Numbers as a buffer holds them.
pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_ne_bytes()).collect()
}

/// What a run begins with: f32 values of parameters, of inputs and of the output's gradient, and rows.
pub(crate) struct Given<'a> {
    pub parameters: &'a [Vec<f32>],
    pub inputs: &'a [Vec<f32>],
    pub rows: &'a [Vec<u32>],
    pub seed: &'a [f32],
}

/// What it ends with.
pub(crate) struct Made {
    pub output: Vec<f32>,
    /// Of parameters and of inputs, where the output depends on them.
    pub parameter_gradients: Vec<Option<Vec<f32>>>,
    pub input_gradients: Vec<Option<Vec<f32>>>,
}

/// A forward and a backward run as a GPU would do them, all inputs tracked.
pub(crate) fn run(program: &Program, given: &Given<'_>) -> Result<Made> {
    let kind = Kind::Training(vec![true; program.inputs.len()]);
    let commands = lower(program, &kind)?;
    let mut stream = Stream::default();
    let lists = [
        (given.parameters, Buffer::Parameter as fn(usize) -> Buffer),
        (given.inputs, Buffer::Input),
    ];
    for (values, buffer) in lists {
        for (i, values) in values.iter().enumerate() {
            stream.buffer(buffer(i), Contents::Bytes(bytes(values)));
        }
    }
    for (i, rows) in given.rows.iter().enumerate() {
        let rows = rows.iter().flat_map(|row| row.to_ne_bytes()).collect();
        stream.buffer(Buffer::Rows(i), Contents::Bytes(rows));
    }
    stream.buffer(Buffer::Arena, Contents::Length(commands.arena));
    stream.buffer(
        Buffer::Constants,
        Contents::Bytes(bytes(&commands.constants)),
    );
    stream.buffer(Buffer::Output, Contents::Length(4 * program.output.len()));
    stream.buffer(Buffer::Seed, Contents::Bytes(bytes(given.seed)));
    stream.buffer(Buffer::Gradients, Contents::Length(4 * commands.gradients));
    for (i, x) in program.inputs.iter().enumerate() {
        stream.buffer(Buffer::InputGradient(i), Contents::Length(4 * x.len()));
    }
    for (i, cells) in commands.tables.iter().enumerate() {
        stream.table(Buffer::Table(i), cells);
    }
    for command in commands.forward.iter().chain(&commands.backward) {
        stream.command(command);
    }
    stream.wanted(Buffer::Output);
    stream.wanted(Buffer::Gradients);
    (0..program.inputs.len()).for_each(|i| stream.wanted(Buffer::InputGradient(i)));
    let mut made = stream.run();
    let mut take = |n: usize| made.drain(..n).collect::<Vec<_>>();
    let (output, gradients) = (take(program.output.len()), take(commands.gradients));
    let input = |(&is_made, x): (&bool, &super::super::Map)| {
        let gradient = take(x.len());
        is_made.then_some(gradient)
    };
    let parameter = |(&start, shape): (&Option<usize>, &Vec<usize>)| {
        start.map(|start| gradients[start..][..shape.iter().product()].to_vec())
    };
    Ok(Made {
        output,
        input_gradients: commands
            .input_gradients
            .iter()
            .zip(&program.inputs)
            .map(input)
            .collect(),
        parameter_gradients: commands
            .parameter_gradients
            .iter()
            .zip(&program.parameters)
            .map(parameter)
            .collect(),
    })
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use candle_core::{DType, Tensor, Var};

    use super::super::commands::{Launch, Place};
    use super::super::lower::{BLOCK, PIECE};
    use super::*;
    use crate::adam::{NUMBERS, Update, adam_steps, square_sum};
    use crate::testing::values;

    /// Lengths of tensors: within a piece, a whole one, and beyond.
    const LENGTHS: [usize; 4] = [1, 300, PIECE, 2 * PIECE + 5];

    fn draw(length: usize, seed: u64) -> Result<Tensor> {
        values(&[length], seed).to_dtype(DType::F32)
    }

    /// A kernel over a table whose row `i` is `row(i)`.
    fn over_table(
        stream: &mut Stream,
        kernel: &str,
        rows: usize,
        row: impl Fn(usize) -> Vec<Cell>,
        arguments: &[Argument],
    ) {
        let cells: Vec<Cell> = (0..rows).flat_map(row).collect();
        let table = Buffer::Table(0);
        stream.table(table, &cells);
        let longest = LENGTHS.into_iter().max().expect("some");
        stream.command(&Command::Launch(Launch {
            kernel: kernel.to_owned(),
            grid: [longest.div_ceil(PIECE), rows, 1],
            block: BLOCK,
            arguments: [&[Argument::Place(Place::of(table))], arguments].concat(),
        }));
    }

    #[test]
    fn one_kernel_steps_all_weights_as_the_processor_does() -> Result<()> {
        let step = NUMBERS;
        let keep = 0.7;
        let mut stream = Stream::default();
        let mut expected = Vec::new();
        for (i, &length) in LENGTHS.iter().enumerate() {
            let [p, g, m, v, average] = [1, 2, 3, 4, 5].map(|seed| draw(length, seed));
            let (p, g, m, v, average) = (p?, g?, m?, v?.sqr()?, average?);
            for (k, tensor) in [&p, &g, &m, &v, &average].into_iter().enumerate() {
                let values = tensor.to_vec1::<f32>()?;
                stream.buffer(
                    Buffer::Parameter(5 * i + k),
                    Contents::Bytes(bytes(&values)),
                );
            }
            let parameter = Var::from_tensor(&p)?;
            let update = Update {
                parameter: &parameter,
                gradient: &g,
                m: &m,
                v: &v,
                average: (i != 1).then_some(&average),
            };
            adam_steps(&[update], step, keep)?;
            for tensor in [parameter.as_tensor(), &m, &v, &average] {
                expected.extend(tensor.to_vec1::<f32>()?);
            }
        }
        let row = |i: usize| {
            let place = |k: usize| Cell::Place(Place::of(Buffer::Parameter(5 * i + k)));
            let average = if i == 1 { Cell::Number(0) } else { place(4) };
            let length = Cell::Number(LENGTHS[i]);
            vec![place(0), place(1), place(2), place(3), average, length]
        };
        let numbers = [
            step.beta1,
            step.beta2,
            step.step_size,
            step.root_correction,
            step.epsilon,
            step.decay,
            step.gradient_scale,
            keep,
        ];
        over_table(
            &mut stream,
            "adam_many",
            LENGTHS.len(),
            row,
            &numbers.map(Argument::F32),
        );
        for i in 0..LENGTHS.len() {
            for k in [0, 2, 3, 4] {
                stream.wanted(Buffer::Parameter(5 * i + k));
            }
        }
        let found = stream.run();
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs() / expected.abs().max(0.1);
            assert!(error < 1e-6, "{i}: {found}, expected {expected}");
        }
        Ok(())
    }

    #[test]
    fn one_kernel_adds_up_all_squares() -> Result<()> {
        let mut stream = Stream::default();
        let tensors: Vec<Tensor> = LENGTHS.iter().map(|&n| draw(n, 7)).collect::<Result<_>>()?;
        for (i, tensor) in tensors.iter().enumerate() {
            let values = tensor.to_vec1::<f32>()?;
            stream.buffer(Buffer::Parameter(i), Contents::Bytes(bytes(&values)));
        }
        let pieces = |n: &usize| n.div_ceil(PIECE);
        let all: usize = LENGTHS.iter().map(pieces).sum();
        stream.buffer(Buffer::Arena, Contents::Length(4 * all));
        let row = |i: usize| {
            let before = LENGTHS[..i].iter().map(pieces).sum();
            let place = Cell::Place(Place::of(Buffer::Parameter(i)));
            vec![place, Cell::Number(LENGTHS[i]), Cell::Number(before)]
        };
        let to = [Argument::Place(Place::of(Buffer::Arena))];
        over_table(&mut stream, "squares_many", LENGTHS.len(), row, &to);
        stream.wanted(Buffer::Arena);
        let found: f64 = stream.run().into_iter().map(f64::from).sum();
        let expected = square_sum(&tensors.iter().collect::<Vec<_>>())?;
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found}, expected {expected}"
        );
        Ok(())
    }
}
