//! Which files a session serves: the globs of `--include`, `--exclude` and `--own`, and how many
//! files each has matched so far, so that one that matches nothing is seen.
//!
//! `proofs` judges every file once, when it is first read; `stats` and `session` tell what came of
//! it.

use globset::GlobSet;
use grid::files::{EXCLUDED, JUDGED, OWNED};
use grid::sync::{AtomicU64, Ordering};

use crate::config::ServeConfig;
use crate::control::GlobInfo;
use crate::failure::Failure;

/// The globs of a session, ready to match.
pub struct Globs {
    include: Setting,
    exclude: Setting,
    own: Setting,
    /// Files judged.
    files: AtomicU64,
    /// Of these, not to be served.
    left_out: AtomicU64,
}

/// The globs of one setting.
struct Setting {
    flag: &'static str,
    set: GlobSet,
    globs: Vec<String>,
    /// Files that each has matched.
    files: Vec<AtomicU64>,
}

impl Setting {
    fn of(flag: &'static str, globs: &[String]) -> Result<Setting, Failure> {
        let set = crate::globs::build(globs).map_err(|error| {
            Failure::usage(
                format!("{flag}: {error}"),
                "nothing was started",
                error.write,
            )
        })?;
        Ok(Setting {
            flag,
            set,
            globs: globs.to_vec(),
            files: globs.iter().map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Whether a glob matches; those that do are counted.
    fn matches(&self, path: &str) -> bool {
        let matching = self.set.matches(path);
        for at in &matching {
            self.files[*at].fetch_add(1, Ordering::Relaxed);
        }
        !matching.is_empty()
    }

    fn infos(&self) -> impl Iterator<Item = GlobInfo> {
        let pairs = self.globs.iter().zip(&self.files);
        pairs.map(|(glob, files)| GlobInfo {
            setting: self.flag.trim_start_matches('-').into(),
            glob: glob.clone(),
            files: files.load(Ordering::Relaxed),
        })
    }
}

impl Globs {
    /// Makes them ready.
    ///
    /// # Errors
    ///
    /// A glob that cannot be matched.
    pub fn of(config: &ServeConfig) -> Result<Globs, Failure> {
        Ok(Globs {
            include: Setting::of("--include", &config.include)?,
            exclude: Setting::of("--exclude", &config.exclude)?,
            own: Setting::of("--own", &config.own)?,
            files: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        })
    }

    /// The flags of a file's record, by its name.
    pub fn judge(&self, path: &str) -> u64 {
        let included = self.include.matches(path) || self.include.globs.is_empty();
        let excluded = self.exclude.matches(path) || !included;
        let owned = self.own.matches(path) && !excluded;
        self.files.fetch_add(1, Ordering::Relaxed);
        let flags = [(EXCLUDED, excluded), (OWNED, owned)];
        if excluded {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        flags
            .iter()
            .filter(|(_, set)| *set)
            .fold(JUDGED, |all, (flag, _)| all | flag)
    }

    /// What each has matched, for `stats -j`.
    pub fn infos(&self) -> Vec<GlobInfo> {
        let settings = [&self.include, &self.exclude, &self.own];
        settings.iter().flat_map(|one| one.infos()).collect()
    }

    /// What its user should know: that nothing can be served, or that a glob seems misspelt.
    pub fn remark(&self) -> Option<String> {
        let files = self.files.load(Ordering::Relaxed);
        if files == 0 {
            return None;
        }
        if self.left_out.load(Ordering::Relaxed) >= files {
            let text = format!("all {files} files read so far are left out");
            return Some(format!("{text} by --include or --exclude"));
        }
        // An --exclude that has had nothing to do is as it should be.
        let mut told = [&self.include, &self.own]
            .into_iter()
            .flat_map(Setting::infos);
        let idle = told.find(|info| info.files == 0)?;
        Some(format!(
            "--{} '{}' matches none of the {files} files read so far",
            idle.setting, idle.glob
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(include: &[&str], exclude: &[&str], own: &[&str]) -> Globs {
        let texts = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_string()).collect();
        let mut config = super::super::tests::bare_config();
        config.include = texts(include);
        config.exclude = texts(exclude);
        config.own = texts(own);
        Globs::of(&config).unwrap()
    }

    #[test]
    fn names_are_judged_by_all_three_kinds_of_globs() {
        let globs = globs(&["/srv/**"], &["**/pg_wal/**"], &["/srv/pg/**"]);
        assert_eq!(globs.judge("/srv/pg/base/1"), JUDGED | OWNED);
        assert_eq!(globs.judge("/srv/pg/pg_wal/1"), JUDGED | EXCLUDED);
        assert_eq!(globs.judge("/etc/passwd"), JUDGED | EXCLUDED);
        assert_eq!(globs.judge("/srv/web/a"), JUDGED);
        let counts: Vec<_> = globs.infos().iter().map(|info| info.files).collect();
        assert_eq!(counts, [3, 1, 2]);
        assert_eq!(globs.remark(), None);
        let all = super::tests::globs(&[], &[], &[]);
        assert_eq!(all.judge("/etc/passwd"), JUDGED);
        assert_eq!(all.remark(), None);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_told() {
        let misspelt = globs(&["/srv/gp/**"], &[], &[]);
        assert_eq!(misspelt.remark(), None, "nothing was read yet");
        misspelt.judge("/srv/pg/1");
        let remark = misspelt.remark().unwrap();
        assert!(remark.starts_with("all 1 files read so far are left out"));
        let misspelt = globs(&["/srv/**"], &["/x/**"], &["/srv/pg/**", "/srv/gp/**"]);
        misspelt.judge("/srv/pg/1");
        let remark = misspelt.remark().unwrap();
        assert_eq!(
            remark,
            "--own '/srv/gp/**' matches none of the 1 files read so far"
        );
    }
}
