//! The processes under test: each started again at once when it ends, as a service manager would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use time::OffsetDateTime;

use super::checker::Outage;

/// What one process runs.
pub type Roles = &'static [&'static str];

/// Who is on the way to the end of a challenge. The others may sleep: it expires without them.
const ENDING: &[&str] = &["code-generation", "verification", "timers"];

/// Those that matter most run twice, so that one may hang while the other goes on.
pub const FLEET: &[Roles] = &[
    &["ingress"],
    &["work", "code-generation"],
    &["work", "code-generation"],
    &["work", "verification"],
    &["work", "verification"],
    &["work", "sms-delivery"],
    &["work", "sms-delivery"],
    &["work", "email-fallback"],
    &["work", "directory", "settings"],
    &["work", "team", "team-batch", "support"],
    &["work", "audit"],
    &["work", "notification", "notice-delivery"],
    &["work", "timers"],
    &["work", "timers", "janitor"],
];

struct Process {
    name: String,
    roles: Roles,
    child: Option<Child>,
    /// For the next start only.
    armed: Option<String>,
    deaths: u64,
    stopped_since: Option<(Instant, OffsetDateTime)>,
    /// Not started again until released.
    held: bool,
}

pub struct Fleet {
    binary: PathBuf,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    /// For how long a stopped process sleeps.
    stop_for: Duration,
    processes: Vec<Mutex<Process>>,
    /// Ends that nobody ordered.
    surprises: Mutex<Vec<String>>,
    /// When a process of [`ENDING`] slept.
    stops: Mutex<Vec<Outage>>,
}

impl Fleet {
    /// Starts every process of [`FLEET`] and watches over them until the fleet is dropped.
    pub fn start(
        binary: &Path,
        folder: &Path,
        environment: Vec<(String, String)>,
        stop_for: Duration,
    ) -> Arc<Self> {
        let process = |(n, roles): (usize, &Roles)| {
            Mutex::new(Process {
                name: format!("{n:02}-{}", roles.join("-")),
                roles,
                child: None,
                armed: None,
                deaths: 0,
                stopped_since: None,
                held: false,
            })
        };
        let fleet = Arc::new(Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            environment,
            stop_for,
            processes: FLEET.iter().enumerate().map(process).collect(),
            surprises: Mutex::default(),
            stops: Mutex::default(),
        });
        let watched = Arc::downgrade(&fleet);
        std::thread::spawn(move || {
            while let Some(fleet) = watched.upgrade() {
                fleet.watch();
                drop(fleet);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        fleet
    }

    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// The places of the processes with this role.
    pub fn with_role(&self, role: &str) -> Vec<usize> {
        (0..FLEET.len()).filter(|at| FLEET[*at].contains(&role)).collect()
    }

    /// Kills the process at this place; it is back at once.
    pub fn kill(&self, at: usize) {
        self.signal(at, Signal::KILL);
    }

    pub fn terminate(&self, at: usize) {
        self.signal(at, Signal::TERM);
    }

    /// Stops the process for a while; whoever stops by its own order wakes up likewise.
    pub fn stop(&self, at: usize) {
        self.signal(at, Signal::STOP);
    }

    /// Wakes whoever sleeps.
    pub fn wake_all(&self) {
        (0..self.len()).for_each(|at| self.signal(at, Signal::CONT));
    }

    /// Kills the process and does not start it again before it is released.
    pub fn hold(&self, at: usize) {
        self.processes[at].lock().unwrap().held = true;
        self.kill(at);
    }

    pub fn release(&self, at: usize) {
        self.processes[at].lock().unwrap().held = false;
    }

    /// Ends the process by `signal`; its next life has `STEPUP_FAULT=order`.
    pub fn arm(&self, at: usize, order: String, signal: Signal) {
        self.processes[at].lock().unwrap().armed = Some(order);
        self.signal(at, signal);
    }

    /// How often a process has ended.
    pub fn deaths(&self) -> u64 {
        self.processes.iter().map(|process| process.lock().unwrap().deaths).sum()
    }

    /// Ends that nobody ordered, each as a sentence.
    pub fn surprises(&self) -> Vec<String> {
        self.surprises.lock().unwrap().clone()
    }

    /// When one of those slept who are on the way to the end of a challenge.
    pub fn stops(&self) -> Vec<Outage> {
        std::mem::take(&mut self.stops.lock().unwrap())
    }

    /// What the processes have written.
    pub fn logs(&self) -> String {
        let names = self.processes.iter().map(|process| process.lock().unwrap().name.clone());
        let read = |name| std::fs::read_to_string(self.folder.join(format!("{name}.log")));
        names.filter_map(|name: String| read(name).ok()).collect()
    }

    fn signal(&self, at: usize, signal: Signal) {
        let process = self.processes[at].lock().unwrap();
        let Some(child) = &process.child else { return };
        // Not waited for yet, so the id is still its own.
        let id = Pid::from_raw(child.id() as i32).unwrap();
        let _ = kill_process(id, signal);
        // Whoever is stopped must wake up to hear that it is to end.
        if signal == Signal::TERM {
            let _ = kill_process(id, Signal::CONT);
        }
    }

    fn watch(&self) {
        for process in &self.processes {
            let mut process = process.lock().unwrap();
            match process.child.as_mut().map(|child| child.try_wait().unwrap()) {
                Some(None) => {
                    self.wake_in_time(&mut process);
                    continue;
                }
                Some(Some(status)) => {
                    process.child = None;
                    self.ended(&mut process, status);
                }
                None => {}
            }
            if process.held {
                continue;
            }
            let armed = process.armed.take();
            process.child = Some(self.launch(&process.name, process.roles, armed));
        }
    }

    fn wake_in_time(&self, process: &mut Process) {
        let Some(id) = process.child.as_ref().map(Child::id) else { return };
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let stopped = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        if !stopped {
            self.woken(process);
            return;
        }
        let now = || (Instant::now(), OffsetDateTime::now_utc());
        let (since, _) = *process.stopped_since.get_or_insert_with(now);
        if since.elapsed() > self.stop_for {
            let _ = kill_process(Pid::from_raw(id as i32).unwrap(), Signal::CONT);
        }
    }

    /// Writes down how long it slept, if it did.
    fn woken(&self, process: &mut Process) {
        if let Some((_, from)) = process.stopped_since.take()
            && process.roles.iter().any(|role| ENDING.contains(role))
        {
            let to = OffsetDateTime::now_utc();
            self.stops.lock().unwrap().push(Outage { from, to });
        }
    }

    fn ended(&self, process: &mut Process, status: ExitStatus) {
        process.deaths += 1;
        self.woken(process);
        use std::os::unix::process::ExitStatusExt;
        // SIGTERM kills whoever has only begun to start; 1 is what a drain that took too long and
        // an ordered panic end with.
        if !matches!(status.signal(), Some(9 | 15)) && !matches!(status.code(), Some(0 | 1)) {
            let what = format!("{} ended by itself: {status}", process.name);
            self.surprises.lock().unwrap().push(what);
        }
    }

    fn launch(&self, name: &str, roles: Roles, armed: Option<String>) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))
            .unwrap();
        // They must not outlive a harness that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(&self.binary)
            .args(roles)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(self.environment.iter().cloned());
        command.env("STEPUP_METRICS_ADDR", "127.0.0.1:0").stdin(Stdio::null());
        if let Some(order) = armed {
            command.env("STEPUP_FAULT", order);
        }
        command.stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in &self.processes {
            let mut process = process.lock().unwrap();
            if let Some(child) = &mut process.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
