//! `wharf check`.

use anyhow::Result;
use wharf_e2e::{Site, check, quickstart};

#[test]
fn a_good_site_has_nothing_to_mend() -> Result<()> {
    let output = check(&quickstart()?)?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

#[test]
fn everything_that_serve_would_refuse_is_a_line_with_file_and_key() -> Result<()> {
    let site = quickstart()?;
    site.write(
        "routes/digits.toml",
        "model = \"digitz\"\ntimeout_ms = 2000\n",
    )?;
    site.write("routes/misspelt.toml", "model = \"iris\"\ntimeout = 2000\n")?;
    site.write("plugins/top-k.toml", "[limits]\nmemory_mb = 0\n")?;
    site.write("plugins/broken.wasm", "not a component")?;
    site.write("models/garbage/1/model.onnx", "not a model")?;
    site.write("models/iris/model.toml", "[instances]\ndevice = \"tpu\"\n")?;

    let output = check(&site)?;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    for (file, mention) in [
        ("routes/digits.toml", "digitz"),
        ("routes/misspelt.toml", "timeout"),
        ("plugins/top-k.toml", "limits.memory_mb"),
        ("plugins/broken.wasm", ""),
        ("models/garbage/1", ""),
        ("models/iris/model.toml", "instances.device"),
    ] {
        let found = text
            .lines()
            .any(|line| line.contains(file) && line.contains(mention));
        assert!(found, "no line has {file} and {mention:?}:\n{text}");
    }
    for line in text.lines() {
        let folders = ["models/", "plugins/", "routes/"];
        let begins_with_a_file = folders.iter().any(|folder| line.starts_with(folder));
        assert!(begins_with_a_file, "no problem of its own: {line}\n{text}");
    }
    Ok(())
}

#[test]
fn a_wrong_setting_of_the_host_is_named() -> Result<()> {
    let site = Site::empty()?;
    for (settings, key) in [
        ("[server]\nlistn = \"127.0.0.1:0\"\n", "server.listn"),
        // Others reach it, and nothing proves that they are operators.
        (
            "[server]\nadmin_listen = \"0.0.0.0:0\"\n",
            "server.admin_token_file",
        ),
        (
            "[server.tls]\ncertificate = \"none.pem\"\nkey = \"none.pem\"\n",
            "server.tls.certificate",
        ),
    ] {
        site.write("wharf.toml", settings)?;
        let output = check(&site)?;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let text = String::from_utf8(output.stdout)?;
        assert!(
            text.contains("wharf.toml") && text.contains(key),
            "{key}: {text}"
        );
    }
    Ok(())
}
