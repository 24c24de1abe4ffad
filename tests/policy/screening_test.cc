// Screening: shapes that must be found, look-alikes that must not, and hostile text. Every value here is made
// up or a published example: card numbers are the networks' test numbers, IBANs those of the registry.
#include "policy/screening.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace retort::policy {
namespace {

std::map<std::string, int> Find(std::string_view text) {
  const v1::ScreeningFacts facts = Screen({}, text, "stop");
  return {facts.findings().begin(), facts.findings().end()};
}

using Findings = std::map<std::string, int>;

void ExpectAll(const char* kind, std::initializer_list<const char*> texts) {
  for (const char* text : texts) {
    EXPECT_EQ(Find(text), (Findings{{kind, 1}})) << text;
    EXPECT_EQ(Find("Before: " + std::string(text) + ", after."), (Findings{{kind, 1}})) << text;
  }
}

void ExpectNothing(std::initializer_list<const char*> texts) {
  for (const char* text : texts) EXPECT_EQ(Find(text), Findings()) << text;
}

TEST(ScreeningTest, FindsEmails) {
  ExpectAll("email", {"jane.doe@example.com", "<jane+tag@mail.example.co.uk>", "j_d%x@a-b.org",
                      "mailto:jane@example.museum", "\"jane@example.com\"", "(jane@example.com)",
                      "jane@example.com.", "-jane@example.com-"});
  EXPECT_EQ(Find("a@b.de;c@d.fr e@f.it"), (Findings{{"email", 3}}));
}

TEST(ScreeningTest, PassesTextThatIsNoEmail) {
  ExpectNothing({"user@localhost", "@mention", "a@b", "a@b.c", "a@.com", "a@b..com", "@example.com",
                 "a.@example.com", "a@-b.com", "a@b.c0m", "a at example.com", "a@ example.com", "@@@@",
                 "@app.route"});
}

TEST(ScreeningTest, FindsPhones) {
  ExpectAll("phone", {"+49 30 123456", "+1 415 555 0132", "+14155550132", "+44 (0)20 7946 0958",
                      "+33-6-12-34-56-78", "+1.415.555.0132", "(415) 555-0132", "(415)555-0132",
                      "415-555-0132", "415.555.0132", "415 555 0132", "1-415-555-0132", "020 7946 0958",
                      "06 12 34 56 78", "0171-2345678", "030/12345678"});
}

TEST(ScreeningTest, PassesNumbersThatAreNoPhones) {
  ExpectNothing({"4155550132",
                 "1234567",
                 "20260102",
                 "2026-01-02",
                 "01-02-2026",
                 "01/02/2026",
                 "12:30:45",
                 "3.14159265358979",
                 "1,000,000,000",
                 "+5",
                 "2 + 2 = 4",
                 "x+12345678",
                 "+0 123 456 789",
                 "+1234567890123456",
                 "115-555-0132",
                 "415-155-0132",
                 "415-555-013",
                 "415-555-01322",
                 "415-555.0132",
                 "192.168.100.100",
                 "10.0.0.1",
                 "1.2.3.4-555-0132",
                 "0.5 to 1.5",
                 "000 000 000",
                 "012",
                 "0 12 34 56 78 9",
                 "415 555 0132 7781",
                 "v415-555-0132",
                 "bake at 180 degrees for 45-50 minutes"});
}

TEST(ScreeningTest, FindsPaymentCards) {
  ExpectAll("payment_card", {"4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111",
                             "5555555555554444", "2223003122003222", "378282246310005", "3782 822463 10005",
                             "6011111111111117", "3530111333300000", "30569309025904", "4222222222222"});
}

TEST(ScreeningTest, PassesNumbersThatAreNoCards) {
  ExpectNothing({"4111111111111112", "4111 1111-1111 1111", "411111111111111", "41111111111111111111",
                 "1234567812345670", "9111111111111111", "4111  1111 1111 1111", "x4111111111111111",
                 "4111111111111111x", "0.4111111111111111", "41 11 11 11 11 11 11 11"});
}

TEST(ScreeningTest, FindsCardAmongOtherNumbers) {
  EXPECT_EQ(Find("order 2026 4111 1111 1111 1111"), (Findings{{"payment_card", 1}}));
  EXPECT_EQ(Find("4111111111111111, 5555555555554444"), (Findings{{"payment_card", 2}}));
}

TEST(ScreeningTest, FindsIbans) {
  ExpectAll("iban", {"DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432",
                     "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606", "NO9386011117947",
                     "MT84MALT011000012345MTLCAST001S", "LC55HEMM000100010012001200023015"});
}

TEST(ScreeningTest, PassesTextThatIsNoIban) {
  ExpectNothing({"DE89370400440532013001", "DE8937040044053201300", "DE893704004405320130000",
                 "XX89370400440532013000", "de89370400440532013000", "DE89 37040044 0532013000",
                 "ADE89370400440532013000", "GB82"});
}

TEST(ScreeningTest, FindsPrivateKeys) {
  ExpectAll("private_key",
            {"-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
             "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----",
             "-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----"});
  ExpectNothing({"-----BEGIN PUBLIC KEY-----", "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY",
                 "BEGIN PRIVATE KEY", "-----BEGIN -----", "-----BEGIN "});
}

TEST(ScreeningTest, FindsApiKeys) {
  // Put together from pieces, so that scanners of source code do not take this file for a leak.
  const std::string letters = "abcDEF123ghiJKL456mnoPQR789stuVWX012yz";
  const std::string keys[] = {
      "AKIA" + std::string("IOSFODNN7EXAMPLE"),
      "ASIA" + std::string("IOSFODNN7EXAMPLE"),
      "sk-" + letters,
      "sk-proj-" + letters + "_-" + letters,
      "sk-ant-" + ("api03-" + letters),
      "ghp_" + letters,
      "ghs_" + letters,
      "github_pat_" + letters + "_" + letters,
      "AIza" + letters.substr(0, 35),
      "xoxb-" + ("123456789012-" + letters),
      "hf_" + letters,
      "sk_live_" + letters,
      "rk_live_" + letters,
      "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"};
  for (const std::string& key : keys) {
    EXPECT_EQ(Find(key), (Findings{{"api_key", 1}})) << key;
    EXPECT_EQ(Find("export KEY=\"" + key + "\";"), (Findings{{"api_key", 1}})) << key;
  }
}

TEST(ScreeningTest, PassesWordsThatAreNoKeys) {
  ExpectNothing({"sk-learn", "sk-some-very-long-hyphenated-name-without-digits", "AKIA",
                 "AKIAIOSFODNN7EXAMPLEX", "AKIAiosfodnn7example", "hf_hub_download_from_repository_1",
                 "ghp_short1", "xoxb-short1", "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.eyJ",
                 "eyJhbGciOiJIUzI1NiJ9.abc.def", "task-0123456789012345678901234567", "AIza0123456789"});
}

TEST(ScreeningTest, StretchOfTextCountsOnce) {
  EXPECT_EQ(Find("DE89 3704 0044 0532 0130 00"), (Findings{{"iban", 1}}));
  EXPECT_EQ(Find("4111-1111-1111-1111"), (Findings{{"payment_card", 1}}));
}

TEST(ScreeningTest, CountsPromptsAndCompletionTogether) {
  const v1::ScreeningFacts facts = Screen({"a@b.de", "c@d.de"}, "e@f.de +49 30 1234567", "length");
  EXPECT_EQ(facts.findings().at("email"), 3);
  EXPECT_EQ(facts.findings().at("phone"), 1);
  EXPECT_EQ(facts.finish_reason(), "length");
  EXPECT_FALSE(facts.refusal());
}

TEST(ScreeningTest, DoesNotJoinTexts) {
  EXPECT_TRUE(Screen({"jane@"}, "example.com", "stop").findings().empty());
}

TEST(ScreeningTest, TakesAnyBytes) {
  std::string bytes;
  for (int i = 0; i < 4096; ++i) bytes += static_cast<char>(i * 37);
  EXPECT_TRUE(Screen({bytes}, bytes, "").findings().empty());
  EXPECT_EQ(Find(std::string("\0jane@example.com\0", 18)), (Findings{{"email", 1}}));
}

TEST(ScreeningTest, HostileTextIsReadInLinearTime) {
  // 1 MiB of each: a scanner that went back over what it read would outlast the test's time limit.
  for (const char* piece :
       {"@",    "a@",    "a.",   "-",   "-----BEGIN ", "1",   "1 ", "1-",   "+1",    "+1 (", "0 1", "(415) ",
        "415-", "DE89 ", "DE89", "eyJ", "eyJaaaaaaa.", "sk-", "_",  "a@b.", "4111 ", "01 ",  "999-"}) {
    std::string text;
    while (text.size() < (1u << 20)) text += piece;
    Find(text);
  }
}

TEST(RefusalTest, KnowsRefusals) {
  for (const char* text :
       {"I'm sorry, but I can't help with that.",
        "I\xe2\x80\x99m sorry, but I can\xe2\x80\x99t assist with that request.",
        "Sorry, I cannot provide that.", "I cannot help with this.", "I can't assist with that.",
        "As an AI language model, I cannot browse.", "As an AI, I'm not able to do that.",
        "I apologize, but I am unable to share this.", "Unfortunately, I can't do that.", "I must decline.",
        "  \n\"I won't write that.\"", "I am unable to provide medical advice.",
        "I'm afraid I can't do that.", "I'm sorry, but as an AI language model, I cannot say."}) {
    EXPECT_TRUE(IsRefusal(text)) << text;
  }
}

TEST(RefusalTest, PassesAnswers) {
  for (const char* text :
       {"", " ", "Boil the egg for eight minutes.", "I can't believe how easy this is: boil it.",
        "I'm sorry to hear that. Try boiling it longer.",
        "Sorry about the confusion: boil it for eight minutes.", "You can't assist with that.",
        "Refusals often begin with \"I'm sorry, but I can't help with that\".",
        "I cannot stress enough that the oven must be hot.", "I'm",
        "As an AI engineer, you should know this."}) {
    EXPECT_FALSE(IsRefusal(text)) << text;
  }
}

TEST(RefusalTest, IsPartOfScreening) {
  EXPECT_TRUE(Screen({}, "I can't help with that.", "stop").refusal());
  EXPECT_FALSE(Screen({"I can't help with that."}, "Yes.", "stop").refusal());
}

}  // namespace
}  // namespace retort::policy
