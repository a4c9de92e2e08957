//! A network described once, as a list of few fused ops over maps.
//!
//! A [`Program`] holds shapes, not values. An [`Engine`] runs it eagerly by plain candle operations, which are the
//! definition and serve every device ([`Engine::reference`]); on the CPU by the kernels of this crate, with planned memory
//! and a backward run of its own; and on NVIDIA's GPUs by commands made from the same plan ([`Engine::run`]).

mod engine;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod gpu;
mod graph;
mod memory;
mod ops;
mod plan;
mod pool;
mod reference;
mod session;
mod weights;

use candle_core::{Result, bail};

use crate::activation::Activation;
use crate::compute_type::ComputeType;
use crate::conv::Shape;
use crate::norm::COEFFICIENTS;
use crate::resample::Direction;
pub use engine::{Engine, OnGradient};

/// Frames `[B, T, C]` somewhere in a [`Program`]; a vector is a map with one frame.
///
/// Two maps of one value are the same numbers in rows of different width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Map {
    value: usize,
    b: usize,
    t: usize,
    c: usize,
}

impl Map {
    /// `(B, T, C)`.
    pub fn dims(self) -> (usize, usize, usize) {
        (self.b, self.t, self.c)
    }

    fn len(self) -> usize {
        self.b * self.t * self.c
    }
}

/// A trainable tensor: its index among those its [`Engine`] was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter(pub usize);

/// Row numbers, one for each clip: an input of u32, `[B]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indices {
    index: usize,
    b: usize,
}

/// The prologue of a convolution: group normalisation over all frames of a clip [Wu & He 2018], FiLM [Perez et al.
/// 2018] and an activation, `f((x̂·gain + bias)·(1 + scale) + shift)`.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Gain and bias, `[2, C]`.
    pub affine: Parameter,
    /// Scale and shift, `[B, 1, 2·C]`; without it the modulation is left out.
    pub film: Option<Map>,
    /// Number of groups; divides `C`.
    pub groups: usize,
    /// `f`.
    pub activation: Activation,
}

impl Norm {
    /// The number of coefficients for `x`.
    fn coefficients(x: Map) -> usize {
        x.b * COEFFICIENTS * x.c
    }
}

#[derive(Debug)]
struct Conv {
    x: Map,
    norm: Option<Norm>,
    weight: Parameter,
    bias: Option<Parameter>,
    residual: Option<Map>,
    kernel: usize,
    compute_type: ComputeType,
    y: Map,
}

impl Conv {
    fn shape(&self) -> Shape {
        let (Map { b, t, c: ci, .. }, Map { c: co, .. }) = (self.x, self.y);
        Shape {
            b,
            t,
            ci,
            co,
            kernel: self.kernel,
            compute_type: self.compute_type,
        }
    }

    fn film(&self) -> Option<Map> {
        self.norm.and_then(|norm| norm.film)
    }
}

#[derive(Debug)]
enum Op {
    Conv(Conv),
    /// A norm on its own.
    Normed {
        x: Map,
        norm: Norm,
        residual: Option<Map>,
        y: Map,
    },
    Attention {
        qkv: Map,
        heads: usize,
        y: Map,
    },
    Resample {
        x: Map,
        direction: Direction,
        y: Map,
    },
    Silu {
        x: Map,
        y: Map,
    },
    Lookup {
        table: Parameter,
        rows: Indices,
        residual: Map,
        y: Map,
    },
    AddScaled {
        a: Map,
        b: Map,
        scale: f64,
        y: Map,
    },
}

impl Op {
    fn y(&self) -> Map {
        match *self {
            Self::Conv(Conv { y, .. })
            | Self::Normed { y, .. }
            | Self::Attention { y, .. }
            | Self::Resample { y, .. }
            | Self::Silu { y, .. }
            | Self::Lookup { y, .. }
            | Self::AddScaled { y, .. } => y,
        }
    }

    /// The maps it reads: its operand, a film, and a residual, whose gradient is a multiple of the output's.
    fn reads(&self) -> [Option<Map>; 3] {
        match *self {
            Self::Conv(ref conv) => [Some(conv.x), conv.film(), conv.residual],
            Self::Normed {
                x, norm, residual, ..
            } => [Some(x), norm.film, residual],
            Self::Attention { qkv: x, .. } | Self::Resample { x, .. } | Self::Silu { x, .. } => {
                [Some(x), None, None]
            }
            Self::Lookup { residual, .. } => [None, None, Some(residual)],
            Self::AddScaled { a, b, .. } => [Some(b), None, Some(a)],
        }
    }

    /// The maps among those that its gradients are computed from.
    fn keeps(&self) -> [Option<Map>; 2] {
        match self {
            Self::Lookup { .. } | Self::AddScaled { .. } | Self::Resample { .. } => [None, None],
            _ => {
                let [x, film, _] = self.reads();
                [x, film]
            }
        }
    }

    /// The factor between the output's gradient and the residual's.
    fn scale(&self) -> f64 {
        match *self {
            Self::AddScaled { scale, .. } => scale,
            _ => 1.0,
        }
    }

    fn has_parameters(&self) -> bool {
        self.parameters().into_iter().flatten().next().is_some()
    }

    /// The parameters that its backward step contributes to.
    fn parameters(&self) -> [Option<Parameter>; 3] {
        match *self {
            Self::Conv(Conv {
                norm, weight, bias, ..
            }) => [Some(weight), bias, norm.map(|norm| norm.affine)],
            Self::Normed { norm, .. } => [Some(norm.affine), None, None],
            Self::Lookup { table, .. } => [Some(table), None, None],
            _ => [None; 3],
        }
    }

    /// The map that it normalises, and the norm.
    fn norm(&self) -> Option<(Map, Norm)> {
        match *self {
            Self::Conv(Conv { x, norm, .. }) => norm.map(|norm| (x, norm)),
            Self::Normed { x, norm, .. } => Some((x, norm)),
            _ => None,
        }
    }
}

/// A network: ops over maps, each op after those whose maps it reads.
#[derive(Debug)]
pub struct Program {
    /// Shapes.
    parameters: Vec<Vec<usize>>,
    /// For products over frames; products of vectors, which cost nothing, are always computed in f32.
    compute_type: ComputeType,
    inputs: Vec<Map>,
    indices: Vec<Indices>,
    ops: Vec<Op>,
    /// The length of each value.
    values: Vec<usize>,
    output: Map,
}

impl Program {
    /// The program over parameters of these shapes whose output is what `describe` returns.
    fn describe(
        parameters: Vec<Vec<usize>>,
        compute_type: ComputeType,
        describe: impl FnOnce(&mut Self) -> Result<Map>,
    ) -> Result<Self> {
        let nothing = Map {
            value: 0,
            b: 0,
            t: 0,
            c: 0,
        };
        let mut program = Self {
            parameters,
            compute_type,
            inputs: Vec::new(),
            indices: Vec::new(),
            ops: Vec::new(),
            values: Vec::new(),
            output: nothing,
        };
        program.output = describe(&mut program)?;
        Ok(program)
    }

    fn map(&mut self, (b, t, c): (usize, usize, usize)) -> Map {
        let value = self.values.len();
        self.values.push(b * t * c);
        Map { value, b, t, c }
    }

    /// Appends an op; `op` is given its output map.
    fn push(&mut self, dims: (usize, usize, usize), op: impl FnOnce(Map) -> Op) -> Map {
        let y = self.map(dims);
        self.ops.push(op(y));
        y
    }

    fn shape(&self, parameter: Parameter) -> Result<&[usize]> {
        match self.parameters.get(parameter.0) {
            Some(shape) => Ok(shape),
            None => bail!(
                "parameter {}: expected one of {}",
                parameter.0,
                self.parameters.len()
            ),
        }
    }

    fn expect_shape(&self, what: &str, parameter: Parameter, expected: &[usize]) -> Result<()> {
        let found = self.shape(parameter)?;
        if found != expected {
            bail!("{what} should be {expected:?}, found {found:?}");
        }
        Ok(())
    }

    /// Declares an input map. Inputs are passed in the order of the calls.
    pub fn input(&mut self, b: usize, t: usize, c: usize) -> Map {
        let x = self.map((b, t, c));
        self.inputs.push(x);
        x
    }

    /// Declares an input of row numbers. They are passed in the order of the calls.
    pub fn indices(&mut self, b: usize) -> Indices {
        let index = self.indices.len();
        let rows = Indices { index, b };
        self.indices.push(rows);
        rows
    }

    /// The same numbers in frames of another width, without moving anything: strided layers are a
    /// convolution around this.
    ///
    /// # Errors
    /// When a clip has not `T·C` values.
    pub fn reshape(&self, x: Map, t: usize, c: usize) -> Result<Map> {
        if t * c != x.t * x.c {
            bail!("reshape: {:?} does not make clips of {t} × {c}", x.dims());
        }
        Ok(Map { t, c, ..x })
    }

    /// Convolves over `T` with zero padding: `x: [B, T, Ci]`, normed if wanted, → `[B, T, Co]`.
    ///
    /// `weight: [K·Ci, Co]` holds the taps from the earliest frame to the latest; `K` is odd and
    /// follows from the shapes, `K = 1` is a linear layer. `bias: [Co]` and `residual` are added;
    /// the latter has the output's shape, or a batch of 1 and is the same for each clip.
    ///
    /// # Errors
    /// When the shapes disagree; the message says both sides.
    pub fn conv(
        &mut self,
        x: Map,
        norm: Option<Norm>,
        weight: Parameter,
        bias: Option<Parameter>,
        residual: Option<Map>,
    ) -> Result<Map> {
        let (b, t, ci) = x.dims();
        let &[rows, co] = self.shape(weight)? else {
            bail!(
                "conv: weight should be a matrix, found {:?}",
                self.shape(weight)?
            );
        };
        if b * t * ci * co == 0 || rows % ci != 0 || (rows / ci) % 2 == 0 {
            bail!(
                "conv: weight should have an odd multiple of {ci} rows for frames {:?}, found {:?}",
                x.dims(),
                [rows, co]
            );
        }
        if let Some(bias) = bias {
            self.expect_shape("conv: bias", bias, &[co])?;
        }
        if let Some(norm) = &norm {
            self.check_norm(x, norm)?;
        }
        if let Some(residual) = residual
            && residual.dims() != (b, t, co)
            && residual.dims() != (1, t, co)
        {
            bail!(
                "conv: residual should be {:?}, found {:?}",
                (b, t, co),
                residual.dims()
            );
        }
        let compute_type = if t == 1 {
            ComputeType::F32
        } else {
            self.compute_type
        };
        let conv = |y| {
            Op::Conv(Conv {
                x,
                norm,
                weight,
                bias,
                residual,
                kernel: rows / ci,
                compute_type,
                y,
            })
        };
        Ok(self.push((b, t, co), conv))
    }

    fn check_norm(&self, x: Map, norm: &Norm) -> Result<()> {
        let (b, _, c) = x.dims();
        if norm.groups == 0 || c % norm.groups != 0 {
            bail!(
                "group norm: {c} channels do not divide into {} groups",
                norm.groups
            );
        }
        self.expect_shape("group norm: affine", norm.affine, &[2, c])?;
        if let Some(film) = norm.film
            && film.dims() != (b, 1, 2 * c)
        {
            bail!(
                "group norm: film should be {:?}, found {:?}",
                (b, 1, 2 * c),
                film.dims()
            );
        }
        Ok(())
    }

    /// `norm(x) + residual`, all `[B, T, C]`. A norm before a convolution costs less as part of [`Program::conv`].
    ///
    /// # Errors
    /// When the shapes disagree; the message says both sides.
    pub fn normed(&mut self, x: Map, norm: Norm, residual: Option<Map>) -> Result<Map> {
        self.check_norm(x, &norm)?;
        if let Some(residual) = residual
            && residual.dims() != x.dims()
        {
            bail!(
                "group norm: residual should be {:?}, found {:?}",
                x.dims(),
                residual.dims()
            );
        }
        Ok(self.push(x.dims(), |y| Op::Normed {
            x,
            norm,
            residual,
            y,
        }))
    }

    /// Half as many frames by Dance Diffusion's cubic filter: `[B, T, C]` → `[B, T/2, C]`. `T` is even and at least 4.
    ///
    /// # Errors
    /// When it is not.
    pub fn downsample(&mut self, x: Map) -> Result<Map> {
        let (b, t, c) = x.dims();
        if t < 4 || t % 2 != 0 {
            bail!("downsample: expected an even number of 4 frames or more, found {t}");
        }
        let direction = Direction::Down;
        Ok(self.push((b, t / 2, c), |y| Op::Resample { x, direction, y }))
    }

    /// Twice as many frames by the same filter: `[B, T, C]` → `[B, 2·T, C]`. `T` is at least 3.
    ///
    /// # Errors
    /// When it is less.
    pub fn upsample(&mut self, x: Map) -> Result<Map> {
        let (b, t, c) = x.dims();
        if t < 3 {
            bail!("upsample: expected 3 frames or more, found {t}");
        }
        let direction = Direction::Up;
        Ok(self.push((b, 2 * t, c), |y| Op::Resample { x, direction, y }))
    }

    /// `softmax(Q·Kᵀ/√d)·V` for each head [Vaswani et al. 2017].
    ///
    /// `qkv: [B, T, 3·C]` holds queries, keys and values side by side, each with its heads side by
    /// side; makes `[B, T, C]`. `heads` divides `C`.
    ///
    /// # Errors
    /// When the channels do not divide.
    pub fn attention(&mut self, qkv: Map, heads: usize) -> Result<Map> {
        let (b, t, width) = qkv.dims();
        if heads == 0 || width % (3 * heads) != 0 {
            bail!("attention: {width} channels do not divide into 3 × {heads} heads");
        }
        Ok(self.push((b, t, width / 3), |y| Op::Attention { qkv, heads, y }))
    }

    /// `x·σ(x)`, for vectors. Between convolutions it is part of their [`Norm`].
    pub fn silu(&mut self, x: Map) -> Map {
        self.push(x.dims(), |y| Op::Silu { x, y })
    }

    /// `residual` plus, for each clip, a row of `table: [N, E]`; all maps are `[B, 1, E]`.
    ///
    /// # Errors
    /// When the shapes disagree; the message says both sides.
    pub fn lookup(&mut self, table: Parameter, rows: Indices, residual: Map) -> Result<Map> {
        let &[n, e] = self.shape(table)? else {
            bail!(
                "lookup: table should be a matrix, found {:?}",
                self.shape(table)?
            );
        };
        if residual.dims() != (rows.b, 1, e) {
            bail!(
                "lookup: {} rows of {:?} do not add to {:?}",
                rows.b,
                [n, e],
                residual.dims()
            );
        }
        Ok(self.push(residual.dims(), |y| Op::Lookup {
            table,
            rows,
            residual,
            y,
        }))
    }

    /// `(a + b)·scale`.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add_scaled(&mut self, a: Map, b: Map, scale: f64) -> Result<Map> {
        if a.dims() != b.dims() {
            bail!("add_scaled: {:?} does not add to {:?}", b.dims(), a.dims());
        }
        Ok(self.push(a.dims(), |y| Op::AddScaled { a, b, scale, y }))
    }

    /// The last op that reads each value; the first op for a value that none reads.
    fn last_reads(&self) -> Vec<usize> {
        let mut last = vec![0; self.values.len()];
        for (i, op) in self.ops.iter().enumerate() {
            for map in op.reads().into_iter().flatten() {
                last[map.value] = i;
            }
        }
        last
    }
}
