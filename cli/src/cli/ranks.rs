//! The processes that `mpirun` or `srun` started together, among which `train` and `render` share their work.

use audiodiff::group::Group;
#[cfg(feature = "mpi")]
use audiodiff::group::World;

use super::{Global, usage};

/// How launchers tell each process how many there are: Open MPI, MPICH and Intel MPI, Slurm's srun.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// This process among those that were started together.
pub struct Ranks {
    #[cfg(feature = "mpi")]
    world: Option<World>,
}

impl Ranks {
    /// Meets the others, where there are some. A verb that does not `share` its work must be alone.
    pub fn meet(verb: &str, share: bool) -> anyhow::Result<Self> {
        let started = started();
        if started > 1 && !share {
            return Err(usage(format!(
                "{verb}: expected to be started once, found {started} processes together: only train and render share \
                 their work among them"
            )));
        }
        Self::of(verb, started)
    }

    /// A process alone, whatever started it.
    pub fn alone() -> Self {
        Self {
            #[cfg(feature = "mpi")]
            world: None,
        }
    }

    #[cfg(feature = "mpi")]
    fn of(_: &str, started: usize) -> anyhow::Result<Self> {
        if started == 1 {
            return Ok(Self::alone());
        }
        let world = World::start()?;
        let found = world.size();
        if found != started {
            return Err(usage(format!(
                "MPI: expected the {started} processes that were started together, found {found}: they were started \
                 without MPI (srun takes --mpi=pmix), or by another MPI than this build's"
            )));
        }
        // Another rank that panics must not leave the others waiting.
        let shown = std::panic::take_hook();
        let who = name(&world);
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("{who}:");
            shown(panic);
            World::abort(101);
        }));
        Ok(Self { world: Some(world) })
    }

    #[cfg(not(feature = "mpi"))]
    fn of(verb: &str, started: usize) -> anyhow::Result<Self> {
        if started == 1 {
            return Ok(Self::alone());
        }
        let shard = match verb {
            "render" => ", or give each process its --shard",
            _ => "",
        };
        Err(usage(format!(
            "{verb}: {started} processes were started together, but this build lacks the `mpi` feature, by which they \
             share their work; build it in{shard}"
        )))
    }

    /// All of them.
    pub fn group(&self) -> Group {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            return world.group();
        }
        Group::alone()
    }

    fn is_first(&self) -> bool {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            return world.rank() == 0;
        }
        true
    }

    /// Which of a machine's GPUs is this process's own, counted on from the first again where there are fewer.
    pub fn gpu(&self) -> usize {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            return world.rank_on_machine();
        }
        0
    }

    /// The threads to compute with where the cores are shared with other ranks and nobody says how many.
    pub fn threads(&self) -> Option<usize> {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world
            && world.on_cores() > 1
            && std::env::var_os("RAYON_NUM_THREADS").is_none()
        {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
            return Some((cores / world.on_cores()).max(1));
        }
        None
    }

    /// The flags of every verb as this rank takes them: only rank 0 speaks.
    pub fn voice(&self, global: &Global) -> Global {
        Global {
            quiet: global.quiet || !self.is_first(),
            threads: global.threads,
        }
    }

    /// What stands before the errors of this process, where there are several.
    pub fn name(&self) -> Option<String> {
        #[cfg(feature = "mpi")]
        return self.world.as_ref().map(name);
        #[cfg(not(feature = "mpi"))]
        None
    }

    /// Ends all processes with this exit code; only one that is alone comes back.
    pub fn end(&self, code: u8) {
        #[cfg(feature = "mpi")]
        if self.world.is_some() {
            World::abort(code);
        }
        let _ = code;
    }

    /// Lets rank 0 speak first: what all ranks meet is said once, for it ends them all.
    pub fn wait_to_speak(&self) {
        #[cfg(feature = "mpi")]
        if !self.is_first() {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    }
}

#[cfg(feature = "mpi")]
fn name(world: &World) -> String {
    format!("rank {} of {}", world.rank(), world.size())
}

/// How many processes were started together with this one, itself included.
fn started() -> usize {
    let told = SIZES.into_iter().find_map(|name| std::env::var(name).ok());
    let size = told.and_then(|size| size.trim().parse().ok());
    size.unwrap_or(1).max(1)
}
