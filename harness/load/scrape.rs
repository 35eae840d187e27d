//! What the processes use: of ours by their metrics pages, of the servers by `/proc`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Duration;

use reqwest::Client;

/// What one role has used up to now. Several processes of one role are added up, their peaks too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Memory in RAM now.
    pub rss_bytes: f64,
    /// The most there ever was in RAM, where the role says it.
    pub rss_max_bytes: f64,
}

/// One look at everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// By role.
    pub usage: BTreeMap<String, Usage>,
    /// Messages that our processes have published, by kind.
    pub published: BTreeMap<String, f64>,
}

/// Where to look.
pub(super) struct Scrape {
    client: Client,
    /// Role and URL of its metrics page.
    pages: Vec<(String, String)>,
    /// Name and process id of a server; its children count with it.
    processes: Vec<(String, u32)>,
}

/// Splits `name=value`, the form of `--metrics` and `--process`.
pub(super) fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text}: expected NAME=VALUE")),
    }
}

impl Scrape {
    /// Looks at these pages and processes, and at this process.
    pub fn new(metrics: &[String], processes: &[String]) -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let pages = metrics.iter().map(|text| named(text)).collect::<Result<_, _>>()?;
        let mut servers = vec![("load".to_owned(), std::process::id())];
        for text in processes {
            let (name, id) = named(text)?;
            let id = id.parse().map_err(|_| format!("--process {text}: expected NAME=PID"))?;
            servers.push((name, id));
        }
        Ok(Self { client: client.map_err(|error| error.to_string())?, pages, processes: servers })
    }

    /// Whether our processes' counters are seen.
    pub fn sees_pages(&self) -> bool {
        !self.pages.is_empty()
    }

    /// Looks.
    ///
    /// # Errors
    /// A sentence, when a page does not answer.
    pub async fn look(&self) -> Result<Look, String> {
        let mut look = Look::default();
        for (role, url) in &self.pages {
            let answer = self.client.get(url).send().await;
            let answer = answer.and_then(reqwest::Response::error_for_status);
            let page = answer.map_err(|error| format!("--metrics {role}={url}: {error}"))?;
            look.add_page(role, &page.text().await.map_err(|error| error.to_string())?);
        }
        let table = processes();
        for (name, id) in &self.processes {
            let usage = look.usage.entry(name.clone()).or_default();
            add_tree(&table, *id, usage);
        }
        Ok(look)
    }
}

impl Look {
    fn add_page(&mut self, role: &str, page: &str) {
        let usage = self.usage.entry(role.to_owned()).or_default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            match name {
                "process_cpu_seconds_total" => usage.cpu_seconds += value,
                "process_resident_memory_bytes" => usage.rss_bytes += value,
                "process_resident_memory_peak_bytes" => usage.rss_max_bytes += value,
                _ => {
                    let kind = name.strip_prefix("stepup_published_total{kind=\"");
                    if let Some(kind) = kind.and_then(|kind| kind.strip_suffix("\"}")) {
                        *self.published.entry(kind.to_owned()).or_default() += value;
                    }
                }
            }
        }
    }
}

/// One process of the system.
struct Process {
    parent: u32,
    cpu_seconds: f64,
}

fn processes() -> HashMap<u32, Process> {
    /// See `observe`: the unit of times in `/proc`.
    const TICKS_PER_SECOND: f64 = 100.0;
    let mut table = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let rest: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |at: usize| rest.get(at).and_then(|text| text.parse::<f64>().ok());
        // Times of children that have ended are their parent's, 13 and 14.
        let ticks: f64 = (11..=14).filter_map(field).sum();
        table.insert(
            id,
            Process {
                parent: field(1).unwrap_or(0.0) as u32,
                cpu_seconds: ticks / TICKS_PER_SECOND,
            },
        );
    }
    table
}

/// The proportional set size, since shared memory counts once in it: PostgreSQL's buffers belong to
/// every backend.
fn memory_bytes(id: u32) -> f64 {
    let memory = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let pss = memory.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = pss.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) * 1024.0
}

/// Adds a process and all that descend from it.
fn add_tree(table: &HashMap<u32, Process>, id: u32, usage: &mut Usage) {
    if let Some(process) = table.get(&id) {
        usage.cpu_seconds += process.cpu_seconds;
        usage.rss_bytes += memory_bytes(id);
    }
    for (child, _) in table.iter().filter(|(_, process)| process.parent == id) {
        add_tree(table, *child, usage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_one_role_are_added_up() {
        let page = "# HELP x y\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_peak_bytes 1048576\n\
                    stepup_published_total{kind=\"events\"} 7\nother 1\n";
        let mut look = Look::default();
        look.add_page("audit", page);
        look.add_page("audit", page);
        assert_eq!(look.usage["audit"].cpu_seconds, 3.0);
        assert_eq!(look.usage["audit"].rss_max_bytes, 2_097_152.0);
        assert_eq!(look.published["events"], 14.0);
    }

    #[test]
    fn a_name_and_a_value_are_needed() {
        assert_eq!(named("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(named("a").is_err() && named("=b").is_err() && named("a=").is_err());
    }
}
