//! The XML forms: root `TbusGCIM` with `Channels`, root `RelayMnger` with `Relays`, both repeated.
//!
//! The spellings are those of the tables that exist. A channel table's key names the bus; sizes are
//! bytes. Called by `table` and `routes::table` only; it turns elements into rows and leaves the
//! checking to them.

use bus::Template;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::routes::table::RouteRow;
use super::table::{Complaint, Row};

/// Elements within elements, at most.
const DEPTH_MAX: usize = 3;

/// What was read so far.
#[derive(Default)]
struct State {
    path: Vec<String>,
    text: String,
    root: String,
    key: Option<String>,
    template: Option<Template>,
    rows: Vec<Row>,
    routes: Vec<RouteRow>,
}

/// The key, the template and the channels of a table.
///
/// # Errors
///
/// The first line that is no XML, or that no table has.
pub fn rows(text: &str) -> Result<(Option<String>, Template, Vec<Row>), Complaint> {
    let state = parse(text, "TbusGCIM")?;
    Ok((state.key, state.template.unwrap_or_default(), state.rows))
}

/// The template and the routes of a route table. (Its key named a piece of memory of its own; here
/// routes belong to a bus.)
///
/// # Errors
///
/// As `rows`.
pub fn routes(text: &str) -> Result<(Template, Vec<RouteRow>), Complaint> {
    let state = parse(text, "RelayMnger")?;
    Ok((state.template.unwrap_or_default(), state.routes))
}

fn parse(text: &str, root: &str) -> Result<State, Complaint> {
    let mut reader = Reader::from_str(text);
    let mut state = State {
        root: root.to_string(),
        ..State::default()
    };
    let mut was_closed = false;
    loop {
        let event = reader.read_event();
        let at = (reader.buffer_position() as usize).min(text.len());
        let read = &text.as_bytes()[..at];
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        let no = |what: String| Complaint { line, what };
        match event.map_err(|error| no(error.to_string()))? {
            Event::Eof => break,
            Event::Start(element) => {
                let name = element.name().as_ref().to_string();
                state.open(name, line).map_err(no)?;
            }
            Event::Empty(element) => {
                let name = element.name().as_ref().to_string();
                state.open(name, line).map_err(no)?;
                state.close().map_err(no)?;
            }
            Event::Text(piece) => state.text.push_str(&piece),
            Event::GeneralRef(entity) => {
                state.text.push_str(named(entity.as_ref()).ok_or_else(|| {
                    no("only &amp; &lt; &gt; &quot; &apos; are known here".into())
                })?)
            }
            Event::End(_) => {
                state.close().map_err(no)?;
                was_closed |= state.path.is_empty();
            }
            _ => {}
        }
    }
    if !state.path.is_empty() || !was_closed {
        return Err(Complaint {
            line: text.lines().count().max(1),
            what: format!("the root element {root} is missing, or not closed"),
        });
    }
    Ok(state)
}

fn named(entity: &str) -> Option<&'static str> {
    Some(match entity {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return None,
    })
}

/// What to do with a table of the other kind.
fn other_root(found: &str, wanted: &str) -> String {
    match found {
        "RelayMnger" => "this is a route table: hooktool bus routes apply FILE".into(),
        "TbusGCIM" => "this is a channel table: hooktool bus apply FILE".into(),
        other => format!("the root is {other}, and should be {wanted}"),
    }
}

impl State {
    fn open(&mut self, name: String, line: usize) -> Result<(), String> {
        let is_route_table = self.root == "RelayMnger";
        match (self.path.len(), name.as_str(), is_route_table) {
            (0, root, _) if root == self.root => {}
            (0, root, _) => return Err(other_root(root, &self.root)),
            (1, "Channels", false) => self.rows.push(Row {
                line,
                ..Row::default()
            }),
            (1, "Relays", true) => self.routes.push(RouteRow {
                line,
                ..RouteRow::default()
            }),
            (1, "AddrTemplet" | "Version", _) => {}
            (1, "GCIMShmKey", false) | (1, "RelayShmKey", true) => {}
            (2, "Priority" | "Address" | "SendSize" | "RecvSize" | "Desc", false)
                if self.path[1] == "Channels" => {}
            (2, "Addr" | "MConn" | "Desc", true) if self.path[1] == "Relays" => {}
            (DEPTH_MAX.., ..) | (..) => {
                let path = self.path.join(">/<");
                return Err(format!("no table has <{name}> in <{path}>"));
            }
        }
        self.path.push(name);
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let text = std::mem::take(&mut self.text).trim().to_string();
        let name = self.path.pop().unwrap_or_default();
        if self.root == "RelayMnger" {
            return self.close_in_routes(&name, text);
        }
        let row = self.rows.last_mut();
        match (name.as_str(), row) {
            ("AddrTemplet", _) => self.set_template(&text)?,
            ("GCIMShmKey", _) if text.contains('/') || text.is_empty() => {
                return Err(format!(
                    "GCIMShmKey `{text}`: a key is a word without slashes"
                ));
            }
            ("GCIMShmKey", _) => self.key = Some(text),
            ("Address", Some(row)) => row.between.push(text),
            ("SendSize", Some(row)) => row.send = Some(text),
            ("RecvSize", Some(row)) => row.receive = Some(text),
            ("Desc", Some(row)) => row.description = text,
            ("Priority", Some(row)) => {
                let number = text.parse();
                row.priority = number.map_err(|_| format!("Priority `{text}` is no number"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close_in_routes(&mut self, name: &str, text: String) -> Result<(), String> {
        match (name, self.routes.last_mut()) {
            ("AddrTemplet", _) => self.set_template(&text)?,
            ("Addr", Some(row)) => row.address = text,
            ("MConn", Some(row)) => row.to = text,
            ("Desc", Some(row)) => row.description = text,
            _ => {}
        }
        Ok(())
    }

    fn set_template(&mut self, text: &str) -> Result<(), String> {
        self.template = Some(Template::parse(text).map_err(|error| error.to_string())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::parse;

    const TABLE: &str = r#"<?xml version="1.0"?>
<TbusGCIM>
  <AddrTemplet>8.8.8.8</AddrTemplet>
  <GCIMShmKey>1000</GCIMShmKey>
  <Channels>
    <Priority>0</Priority>
    <Address>0.0.1.1</Address>
    <Address>0.0.2.1</Address>
    <SendSize>20480000</SendSize>
    <RecvSize>20480</RecvSize>
    <Desc>one &amp; two</Desc>
  </Channels>
</TbusGCIM>
"#;

    #[test]
    fn an_old_table_is_read() {
        let table = parse(TABLE).unwrap();
        assert_eq!(table.key.as_deref(), Some("1000"));
        let spec = &table.channels[0];
        assert_eq!(spec.ring_bytes, [20_480_000, 20480]);
        assert_eq!(spec.rounded().unwrap(), [32 << 20, 32 << 10]);
        assert_eq!(spec.description, "one & two");
    }

    #[test]
    fn complaints_name_their_line() {
        let cases = [
            ("8.8.8.8", "8.8.8.9", 3, "template"),
            ("<Priority>0", "<Priority>x", 6, "no number"),
            ("<Desc>", "<Descr>", 11, "<Descr>"),
            ("</TbusGCIM>", "", 14, "not closed"),
            ("</Desc>", "</Dusc>", 11, "Dusc"),
            ("20480<", "20k<", 5, "20KiB"),
            (">1000<", ">a/b<", 4, "slashes"),
        ];
        for (from, to, line, what) in cases {
            let complaint = parse(&TABLE.replacen(from, to, 1)).unwrap_err();
            assert!(complaint.what.contains(what), "{to}: {complaint:?}");
            assert!(complaint.line.abs_diff(line) <= 1, "{to}: {complaint:?}");
        }
    }
}
