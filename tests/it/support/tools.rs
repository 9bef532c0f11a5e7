//! Third-party programs, installed once into the target directory: a Python environment with two AWS emulators and
//! the Python clients, and a folder of Node modules. Versions are pinned in `tests/third_party`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Where `tests/third_party` is.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/third_party").join(path)
}

/// The installed tools.
pub struct Tools {
    place: PathBuf,
}

/// Installed at the first use, by whichever test or process comes first; the others wait.
pub static TOOLS: LazyLock<Tools> = LazyLock::new(Tools::install);

/// Where the programs are that check what is below `deploy/`; installed at the first use, apart from the others.
pub static DEPLOY_TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let requirements = ["requirements-deploy.txt"];
    installed("deploy-tools", &requirements, |place| install_python(place, &requirements)).join("venv/bin")
});

impl Tools {
    /// A program of the Python environment.
    pub fn python(&self, program: &str) -> PathBuf {
        self.place.join("venv/bin").join(program)
    }

    /// The user pool that is not of AWS.
    pub fn cognito_local(&self) -> PathBuf {
        self.place.join("cognito-local/node_modules/.bin/cognito-local")
    }

    /// The Node modules of the clients.
    pub fn node_modules(&self) -> PathBuf {
        self.place.join("js/node_modules")
    }

    fn install() -> Self {
        let pins = [PYTHON[0], PYTHON[1], "js/package-lock.json", "cognito-local/package-lock.json"];
        let place = installed("third-party", &pins, |place| {
            install_python(place, &PYTHON);
            install_node(place, "js");
            install_node(place, "cognito-local");
        });
        Self { place }
    }
}

const PYTHON: [&str; 2] = ["requirements-emulators.txt", "requirements-clients.txt"];

/// The place of what `pins` name, filled by `install` unless it has been before.
fn installed(name: &str, pins: &[&str], install: impl FnOnce(&Path)) -> PathBuf {
    let pinned: String = pins.iter().map(|file| fs::read_to_string(source(file)).unwrap()).collect();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Other pins are another place, so that an old installation is never taken for the new one.
    let place = root.join(format!("{name}-{:016x}", checksum(&pinned)));
    fs::create_dir_all(&place).unwrap();
    let lock = File::create(place.join("lock")).unwrap();
    lock.lock().unwrap();
    if !place.join("installed").exists() {
        install(&place);
        File::create(place.join("installed")).unwrap();
    }
    place
}

fn install_python(place: &Path, requirements: &[&str]) {
    let venv = place.join("venv");
    let hint = "install Python 3.10 or newer with venv (Debian: apt-get install python3 python3-venv)";
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), hint);
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps"]);
    for file in requirements {
        pip.arg("-r").arg(source(file));
    }
    run(&mut pip, "pip must reach a Python package index");
}

fn install_node(place: &Path, folder: &str) {
    let js = place.join(folder);
    fs::create_dir_all(&js).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source(folder).join(file), js.join(file)).unwrap();
    }
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    let hint = "install Node 20 or newer with npm (Debian: apt-get install nodejs npm); npm must reach a registry";
    run(Command::new("npm").args(arguments).current_dir(&js), hint);
}

fn run(command: &mut Command, hint: &str) {
    let done = command.stdin(Stdio::null()).output();
    match done {
        Ok(done) if done.status.success() => {}
        Ok(done) => panic!("{command:?} failed; {hint}\n{}", String::from_utf8_lossy(&done.stderr)),
        Err(error) => panic!("{command:?} cannot be started: {error}; {hint}"),
    }
}

/// FNV-1a: a name for the pins, nothing more.
fn checksum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
