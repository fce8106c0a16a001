//! What about the machine may harm the server: `--check-system`, and the warnings at the start.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::config::Settings;
use crate::log;
use crate::logging::Level;

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Fine,
    /// The machine doesn't tell.
    Unknown,
    Harmful(String),
}

type Check = (&'static str, fn() -> Finding);

const CHECKS: [Check; 3] = [
    ("slow-clocksource", slow_clocksource),
    ("xen-clocksource", || xen_clocksource(read(CURRENT_CLOCKSOURCE))),
    ("overcommit", || overcommit(read("/proc/sys/vm/overcommit_memory"))),
];

/// `--check-system`: prints the result of every check; whether nothing harmful was found.
pub fn check_system() -> bool {
    let mut fine = true;
    for (name, check) in CHECKS {
        match check() {
            Finding::Fine => println!("[{name}]...OK"),
            Finding::Unknown => println!("[{name}]...skipped"),
            Finding::Harmful(warning) => {
                println!("[{name}]...WARNING:\n{warning}");
                fine = false;
            }
        }
    }
    fine
}

/// Logs what may harm the server, once at the start. The slow check is left to `--check-system`.
pub fn warn_at_start(settings: &Settings) {
    for (name, check) in CHECKS {
        if name == "slow-clocksource" {
            continue;
        }
        if let Finding::Harmful(warning) = check() {
            log!(Level::Warning, "WARNING {warning}");
        }
    }
    if let Some(warning) = short_backlog(settings.tcp_backlog, read("/proc/sys/net/core/somaxconn")) {
        log!(Level::Warning, "WARNING: {warning}");
    }
    if (1..1 << 20).contains(&settings.maxmemory) {
        log!(
            Level::Warning,
            "WARNING: You specified a maxmemory value that is less than 1MB (current value is {} bytes). Are you \
             sure this is what you really want?",
            settings.maxmemory
        );
    }
}

/// Takes huge pages from the whole process, from now on; false where the system cannot.
pub fn disable_huge_pages() -> bool {
    nix::sys::prctl::set_thp_disable(true).is_ok()
}

const CURRENT_CLOCKSOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const AVAILABLE_CLOCKSOURCES: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Reading the clock should not enter the kernel: we read it for a while and see who used the CPU.
fn slow_clocksource() -> Finding {
    const BUSY: Duration = Duration::from_millis(50);
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        Some((micros(usage.system_time()), micros(usage.user_time())))
    };
    let before = cpu();
    let start = Instant::now();
    while start.elapsed() < BUSY {}
    let (Some(before), Some(after)) = (before, cpu()) else { return Finding::Unknown };
    let (system, user) = (after.0 - before.0, after.1 - before.1);
    if system * 10 <= system + user {
        return Finding::Fine;
    }
    Finding::Harmful(format!(
        "Slow system clocksource detected. This can result in degraded performance. Consider changing the system's \
         clocksource. Current clocksource: {}. Available clocksources: {}. For example: run the command 'echo tsc > \
         {CURRENT_CLOCKSOURCE}' as root. To permanently change the system's clocksource you'll need to set the \
         'clocksource=' kernel command line parameter.",
        read(CURRENT_CLOCKSOURCE).unwrap_or_default(),
        read(AVAILABLE_CLOCKSOURCES).unwrap_or_default(),
    ))
}

fn xen_clocksource(current: Option<String>) -> Finding {
    match current.as_deref() {
        None => Finding::Unknown,
        Some("xen") => Finding::Harmful(
            "Your system is configured to use the 'xen' clocksource which might lead to degraded performance. Check \
             the result of the [slow-clocksource] system check: run 'redis-server --check-system' to check if the \
             system's clocksource isn't degrading performance."
                .into(),
        ),
        Some(_) => Finding::Fine,
    }
}

/// Nothing here forks, so that the system's default will do; but it must not count what is only reserved.
fn overcommit(value: Option<String>) -> Finding {
    match value.as_deref() {
        None => Finding::Unknown,
        Some("2") => Finding::Harmful(
            "Memory overcommit is switched off: the kernel counts memory that is reserved as if it were used, and may \
             refuse some while much is free. To fix this issue add 'vm.overcommit_memory = 0' to /etc/sysctl.conf and \
             then reboot or run the command 'sysctl vm.overcommit_memory=0' for this to take effect."
                .into(),
        ),
        Some(_) => Finding::Fine,
    }
}

fn short_backlog(backlog: u32, somaxconn: Option<String>) -> Option<String> {
    let somaxconn: u32 = somaxconn?.parse().ok()?;
    (somaxconn > 0 && somaxconn < backlog).then(|| {
        format!(
            "The TCP backlog setting of {backlog} cannot be enforced because /proc/sys/net/core/somaxconn is set to \
             the lower value of {somaxconn}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings() {
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(overcommit(None), Finding::Unknown);
        assert_eq!(overcommit(text("0")), Finding::Fine);
        assert_eq!(overcommit(text("1")), Finding::Fine);
        assert!(matches!(overcommit(text("2")), Finding::Harmful(_)));
        assert_eq!(xen_clocksource(text("tsc")), Finding::Fine);
        assert!(matches!(xen_clocksource(text("xen")), Finding::Harmful(_)));
        assert_eq!(short_backlog(511, text("4096")), None);
        assert_eq!(short_backlog(511, text("511")), None);
        assert!(short_backlog(511, text("128")).is_some_and(|warning| warning.contains("value of 128")));
    }
}
