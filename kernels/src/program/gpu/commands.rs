//! Commands of a GPU, as data.

/// The type of a map's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    Bf16,
}

impl Element {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// As names of kernels end.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A block of memory. Those from outside are f32, rows u32, all of them contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buffer {
    /// The session's own: maps, gradients of maps, temporaries, bf16 copies of parameters.
    Arena,
    /// [`Commands::constants`].
    Constants,
    /// One of [`Commands::tables`].
    Table(usize),
    Parameter(usize),
    Input(usize),
    Rows(usize),
    Output,
    /// The gradient of the output.
    Seed,
    /// The gradients of the parameters, one after the other.
    Gradients,
    InputGradient(usize),
}

/// A place in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub buffer: Buffer,
    pub byte: usize,
}

impl Place {
    /// The beginning of a buffer.
    pub fn of(buffer: Buffer) -> Self {
        Self { buffer, byte: 0 }
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Argument {
    Place(Place),
    /// An operand that is not there.
    Null,
    U32(u32),
    F32(f32),
}

impl From<Place> for Argument {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

impl From<Option<Place>> for Argument {
    fn from(place: Option<Place>) -> Self {
        place.map_or(Self::Null, Self::Place)
    }
}

impl From<usize> for Argument {
    /// Sizes were checked to fit when the program was lowered.
    fn from(n: usize) -> Self {
        Self::U32(u32::try_from(n).expect("a checked size"))
    }
}

impl From<bool> for Argument {
    fn from(is: bool) -> Self {
        Self::U32(u32::from(is))
    }
}

impl From<f32> for Argument {
    fn from(x: f32) -> Self {
        Self::F32(x)
    }
}

/// One kernel over a grid of blocks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Launch {
    /// Its name in `kernels.cu`.
    pub kernel: String,
    pub grid: [usize; 3],
    /// Threads of a block.
    pub block: usize,
    pub arguments: Vec<Argument>,
}

/// A matrix in memory, row by row without gaps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Matrix {
    pub place: Place,
    /// Whether its transpose is meant, whose columns are the rows in memory.
    pub transposed: bool,
}

/// `d = a·b + bias + c`: `a: [m, k]`, `b: [k, n]`, `bias: [n]`, `c` and `d: [m, n]`. Sums are f32.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Matrix,
    pub b: Matrix,
    /// Of the type of `d`.
    pub bias: Option<Place>,
    /// Of the type of `d`, and maybe `d` itself.
    pub c: Option<Place>,
    pub d: Place,
    /// The type of `a` and `b`.
    pub element: Element,
    /// The type of `d`.
    pub out: Element,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Launch(Launch),
    Product(Product),
}

/// A cell of a table: an address, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell {
    Place(Place),
    Number(usize),
}

/// All that a GPU does for runs of one program.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Bytes of the arena.
    pub arena: usize,
    pub constants: Vec<f32>,
    pub tables: Vec<Vec<Cell>>,
    /// From the inputs to the output.
    pub forward: Vec<Command>,
    /// From the seed to the gradients.
    pub backward: Vec<Command>,
    /// Numbers in the buffer of gradients.
    pub gradients: usize,
    /// For each parameter, where its gradient begins there, in numbers; none where the output does not depend on it.
    pub parameter_gradients: Vec<Option<usize>>,
    /// For each input, whether its gradient is made.
    pub input_gradients: Vec<bool>,
}
