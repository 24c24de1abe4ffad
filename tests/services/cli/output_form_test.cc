#include "services/cli/output_form.h"

#include <gtest/gtest.h>

namespace retort::services {
namespace {

constexpr char kItem[] =
    "{\"name\":\"projects/p/jobs/a\",\"list\":[1,{\"x\":\"y: z\"}],\"empty\":{},\"none\":[],\"yes\":true}";

TEST(OutputFormTest, JsonStaysAsItIs) {
  EXPECT_EQ(*RenderedItem(kItem, "json"), std::string(kItem) + "\n");
  EXPECT_EQ(*RenderedItems({"{\"name\":\"a\"}", "{\"name\":\"b\"}"}, "json"),
            "{\"items\":[\n{\"name\":\"a\"},\n{\"name\":\"b\"}]}\n");
  EXPECT_EQ(*RenderedItems({}, "json"), "{\"items\":[]}\n");
}

TEST(OutputFormTest, YamlIsBlockStyleWithQuotedText) {
  EXPECT_EQ(*RenderedItem(kItem, "yaml"),
            "\"name\": \"projects/p/jobs/a\"\n"
            "\"list\":\n"
            "  - 1\n"
            "  -\n"
            "    \"x\": \"y: z\"\n"
            "\"empty\": {}\n"
            "\"none\": []\n"
            "\"yes\": true\n");
}

TEST(OutputFormTest, LinesAndNames) {
  EXPECT_EQ(*RenderedItems({"{\n \"name\": \"a\"\n}", "{\"name\":\"b\"}"}, "jsonl"),
            "{\"name\":\"a\"}\n{\"name\":\"b\"}\n");
  EXPECT_EQ(*RenderedItems({"{\"name\":\"a\\u001b[2J\"}", "{\"name\":\"b\"}"}, "name"), "a?[2J\nb\n");
  EXPECT_EQ(RenderedItem("{\"kl\":1}", "name").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
