"""The tree keeps the rules of proto_rules.py, and every rule finds what it is for."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import proto_rules  # noqa: E402

GOOD = """syntax = "proto3";
package acme.things.v1;
// A service.
service ThingService {
  // Lists.
  rpc ListThings(ListThingsRequest) returns (ListThingsResponse) { option idempotency_level = NO_SIDE_EFFECTS; }
  // Changes.
  rpc CreateThing(CreateThingRequest) returns (Thing);
}
// A thing.
message Thing {
  // A state.
  enum State {
    // Not a value.
    STATE_UNSPECIFIED = 0;
    // One.
    STATE_ONE = 1;
  }
  // Output only. Name.
  string name = 1;
  // Output only. State.
  State state = 2;
  // One of two.
  oneof kind {
    // Optional. A.
    string a = 3;
    // Optional. B.
    int64 b = 4;
  }
}
// Request of ListThings.
message ListThingsRequest {
  // Required. Parent.
  string parent = 1;
  // Optional. Size.
  int32 page_size = 2;
  // Optional. Token.
  string page_token = 3;
}
// Response of ListThings.
message ListThingsResponse {
  // Output only. Things.
  repeated Thing things = 1;
  // Output only. Token.
  string next_page_token = 2;
}
// Request of CreateThing.
message CreateThingRequest {
  // Required. Parent.
  string parent = 1;
  // Optional. UUID.
  string request_id = 2;
}
"""


def compiled(text, name="acme/things/v1/things.proto"):
    with tempfile.TemporaryDirectory() as work:
        path = pathlib.Path(work) / "root" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, "utf-8")
        return proto_rules.compile_protos(pathlib.Path(work) / "root", work)


def lint(text, name="acme/things/v1/things.proto"):
    return {finding.split(": ")[1] for finding in proto_rules.Lint(compiled(text, name)).run()}


def broken(old, new):
    return proto_rules.breaking(proto_rules.surface(compiled(old)), proto_rules.surface(compiled(new)))


class ProtoRulesTest(unittest.TestCase):
    def test_the_tree_keeps_the_rules(self):
        self.assertEqual(proto_rules.main.__module__, "proto_rules")
        with tempfile.TemporaryDirectory() as work:
            files = proto_rules.compile_protos(proto_rules.PROTO, work)
        self.assertGreater(len(files), 15)
        self.assertEqual(proto_rules.Lint(files).run(), [])

    def test_the_tree_breaks_nothing_that_was_released(self):
        with tempfile.TemporaryDirectory() as work:
            now = proto_rules.surface(proto_rules.compile_protos(proto_rules.PROTO, work))
        before = proto_rules.json.loads(proto_rules.BASELINE.read_text("utf-8"))
        self.assertIn("retort/jobs/v1/jobs.proto", before)
        self.assertEqual(proto_rules.breaking(before, now), [])

    def test_every_exception_is_needed(self):
        with tempfile.TemporaryDirectory() as work:
            files = proto_rules.compile_protos(proto_rules.PROTO, work)
        present = {file.name for file in files}
        kept, proto_rules.EXCEPTIONS = proto_rules.EXCEPTIONS, {}
        try:
            found = {tuple(finding.split(": ")[:2]) for finding in proto_rules.Lint(files).run()}
        finally:
            proto_rules.EXCEPTIONS = kept
        self.assertEqual(found, {key for key in kept if key[0] in present})

    def test_good_file_has_no_finding(self):
        self.assertEqual(lint(GOOD), set())
        self.assertEqual(broken(GOOD, GOOD), [])

    def test_each_rule_finds_what_it_is_for(self):
        for rule, old, new in (
                ("PACKAGE_VERSION_SUFFIX", "acme.things.v1", "acme.things"),
                ("PACKAGE_DIRECTORY_MATCH", "acme.things.v1", "acme.other.v1"),
                ("PACKAGE_LOWER_SNAKE_CASE", "package acme.things.v1", "package acme.Things.v1"),
                ("ENUM_PASCAL_CASE", "State", "state_enum"),
                ("ENUM_VALUE_PREFIX", "STATE_ONE", "ONE"),
                ("ENUM_ZERO_VALUE_SUFFIX", "STATE_UNSPECIFIED", "STATE_NONE"),
                ("ENUM_VALUE_UPPER_SNAKE_CASE", "STATE_ONE", "STATE_one"),
                ("ENUM_NO_ALLOW_ALIAS", "    STATE_ONE = 1;", "    STATE_ONE = 1;\n    // Also.\n    STATE_TWO = 1;\n"
                 "    option allow_alias = true;"),
                ("MESSAGE_PASCAL_CASE", "message Thing {", "// X.\nmessage bad_name {}\n// A thing.\nmessage Thing {"),
                ("FIELD_LOWER_SNAKE_CASE", "string name = 1", "string theName = 1"),
                ("ONEOF_LOWER_SNAKE_CASE", "oneof kind", "oneof Kind"),
                ("SERVICE_SUFFIX", "ThingService", "Things"),
                ("RPC_PASCAL_CASE", "rpc CreateThing(", "rpc create_thing("),
                ("RPC_REQUEST_STANDARD_NAME", "rpc CreateThing(CreateThingRequest)", "rpc CreateThing(ListThingsRequest)"),
                ("READS_ARE_MARKED", "{ option idempotency_level = NO_SIDE_EFFECTS; }", ";"),
                ("REQUEST_ID", "string request_id = 2", "string id = 2"),
                ("LIST_PAGES", "int32 page_size", "int32 size"),
                ("LIST_PAGES", "string next_page_token = 2", "string token = 2"),
                ("LIST_PAGES", "repeated Thing things", "Thing things"),
                ("FIELD_BEHAVIOUR", "// Output only. Name.", "// Name."),
                ("COMMENT_FIELD", "  // Output only. Name.\n", ""),
                ("COMMENT_ENUM", "  // A state.\n", ""),
                ("COMMENT_ENUM_VALUE", "    // One.\n", ""),
                ("COMMENT_MESSAGE", "// A thing.\n", ""),
                ("COMMENT_ONEOF", "  // One of two.\n", ""),
                ("COMMENT_RPC", "  // Changes.\n", ""),
                ("COMMENT_SERVICE", "// A service.\n", ""),
                ("IMPORT_USED", "package", 'import "google/protobuf/any.proto";\npackage'),
                ("IMPORT_NO_PUBLIC", "package", 'import public "google/protobuf/any.proto";\npackage')):
            with self.subTest(rule=rule, new=new):
                self.assertEqual(GOOD.count(old) > 0, True)
                self.assertIn(rule, lint(GOOD.replace(old, new)))
        self.assertIn("FILE_LOWER_SNAKE_CASE", lint(GOOD, "acme/things/v1/Things.proto"))

    def test_each_break_is_found(self):
        for old, new in (
                ("string name = 1;", "string title = 1;"),
                ("string name = 1;", "bytes name = 1;"),
                ("string name = 1;", "repeated string name = 1;"),
                ("string name = 1;", "string name = 9;"),
                ("string name = 1;", "reserved 1; reserved \"name\";"),
                ("STATE_ONE = 1", "STATE_UNO = 1"),
                ("    STATE_ONE = 1;", "    STATE_ONE = 2;"),
                ("    string a = 3;\n    // Optional. B.\n    int64 b = 4;\n  }", "    string a = 3;\n  }\n  // Optional. B.\n"
                 "  int64 b = 4;"),
                ("returns (Thing)", "returns (stream Thing)"),
                ("{ option idempotency_level = NO_SIDE_EFFECTS; }", ";"),
                ("  rpc CreateThing(CreateThingRequest) returns (Thing);\n", ""),
                ("// Request of CreateThing.\nmessage CreateThingRequest", "// X.\nmessage CreateThingRequestTwo {}\n"
                 "// Y.\nmessage CreateThingRequest3")):
            with self.subTest(old=old, new=new):
                self.assertEqual(GOOD.count(old) > 0, True)
                text = GOOD.replace(old, new)
                if "CreateThingRequest3" in text:
                    text = text.replace("(CreateThingRequest)", "(CreateThingRequest3)")
                self.assertNotEqual(broken(GOOD, text), [])
        surface = proto_rules.surface(compiled(GOOD))
        self.assertEqual(proto_rules.breaking(surface, {}), ["acme/things/v1/things.proto: FILE_NO_DELETE"])

    def test_adding_breaks_nothing(self):
        self.assertEqual(broken(GOOD, GOOD.replace("  // One of two.", "  // Optional. New.\n  string new = 7;\n"
                                                   "  // One of two.")), [])


if __name__ == "__main__":
    unittest.main()
