#include "services/telemetry/trace_context.h"

#include <gtest/gtest.h>

namespace retort::services {
namespace {

// The example of the recommendation, section 3.2.
constexpr char kExample[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContextTest, TheExampleOfTheRecommendation) {
  const auto context = ParseTraceContext(kExample, "rojo=00f067aa0ba902b7");
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(context->span_id, "00f067aa0ba902b7");
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(context->state, "rojo=00f067aa0ba902b7");
  EXPECT_EQ(context->Traceparent(), kExample);
  EXPECT_FALSE(ParseTraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "")->sampled);
}

// As the cases of the W3C's trace-context test suite (test_traceparent_*).
TEST(TraceContextTest, MalformedOnesAreNoContext) {
  for (const char* bad : {
           "",
           "00",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",  // version 255
           "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",  // upper case
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.0",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",  // version 00 ends there
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
           "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
           "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
       }) {
    EXPECT_FALSE(ParseTraceContext(bad, "").has_value()) << bad;
  }
}

TEST(TraceContextTest, AHigherVersionIsReadAsFarAsItIsKnown) {
  for (const char* good : {"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                           "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future"}) {
    const auto context = ParseTraceContext(good, "");
    ASSERT_TRUE(context.has_value()) << good;
    EXPECT_EQ(context->Traceparent(), kExample);  // handed on as our own version
  }
}

TEST(TraceContextTest, AHostileStateIsDropped) {
  for (const std::string& state :
       {std::string(513, 'a'), std::string("a=b\r\nx: y"), std::string("\xFF=1")}) {
    EXPECT_EQ(ParseTraceContext(kExample, state)->state, "");
  }
  EXPECT_EQ(ParseTraceContext(kExample, std::string(512, 'a'))->state.size(), 512u);
}

TEST(TraceContextTest, ChildrenShareTheTrace) {
  const TraceContext root = TraceContext::NewRoot(true), child = root.Child();
  EXPECT_TRUE(ParseTraceContext(root.Traceparent(), "").has_value()) << root.Traceparent();
  EXPECT_EQ(child.trace_id, root.trace_id);
  EXPECT_NE(child.span_id, root.span_id);
  EXPECT_TRUE(child.sampled);
  EXPECT_NE(TraceContext::NewRoot(true).trace_id, root.trace_id);
}

TEST(TraceContextTest, ScopesNest) {
  EXPECT_EQ(CurrentTrace(), nullptr);
  const TraceContext outer = TraceContext::NewRoot(false), inner = outer.Child();
  {
    const TraceScope one(outer);
    {
      const TraceScope two(inner);
      EXPECT_EQ(CurrentTrace()->span_id, inner.span_id);
    }
    EXPECT_EQ(CurrentTrace()->span_id, outer.span_id);
  }
  EXPECT_EQ(CurrentTrace(), nullptr);
}

}  // namespace
}  // namespace retort::services
