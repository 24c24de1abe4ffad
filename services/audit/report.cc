#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ledger/hex.h"
#include "services/audit/audit.h"

namespace retort::services {
namespace {

// A pack is hostile: nothing of it may move the cursor or forge a line.
std::string Line(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

// `count` right-aligned in eight columns.
std::string Count(uint64_t count) {
  std::string digits = std::to_string(count);
  return std::string(digits.size() < 8 ? 8 - digits.size() : 0, ' ') + digits;
}

// A decimal string cut to three digits after the point.
std::string Short(const std::string& decimal) {
  const size_t point = decimal.find('.');
  return Line(point == std::string::npos ? decimal : decimal.substr(0, point + 4));
}

std::string Padded(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

}  // namespace

std::string AuditText(const AuditReport& report) {
  const ledger::VerifyReport& l = report.ledger;
  std::ostringstream out;
  out << Line(l.Verdict()) << "\n";
  for (size_t i = 1; i < l.findings.size(); ++i) out << "  also: " << Line(l.findings[i].ToString()) << "\n";
  if (l.more_findings) out << "  and more of the kind\n";

  out << "\nCheckpoint\n  origin  " << Line(l.checkpoint.origin) << "\n  size    " << l.checkpoint.size
      << " entries\n  root    " << ledger::HexEncode(l.checkpoint.root) << "\n";

  out << "\nSigned by\n  " << Padded("log", 10) << Line(l.log_vkey) << "  (the key you gave)\n";
  for (const AuditKey& key : report.keys) {
    out << "  " << Padded(Line(key.role), 10) << Line(key.vkey) << "  (entry " << key.entry
        << (key.action == "retire" ? ", retired" : "") << ")\n";
  }

  out << "\nDecisions\n";
  out << Count(report.samples_allowed) << "  samples allowed\n"
      << Count(report.samples_review) << "  samples in review, which never train\n"
      << Count(report.samples_denied) << "  samples denied\n"
      << Count(report.jobs_allowed) << "  jobs allowed\n"
      << Count(report.jobs_review + report.jobs_denied) << "  jobs refused before anything was sent\n";

  if (!report.packs.empty()) {
    out << "\nPolicy packs\n";
    for (const auto& pack : report.packs) {
      out << "  " << Line(pack.id) << " " << Line(pack.version) << ", document of "
          << Line(pack.document_date) << ", " << Line(pack.confidence) << ", sha256 "
          << Line(pack.sha256.substr(0, 16)) << "\n";
    }
  }
  if (report.release) {
    out << "\nStudent\n  " << Line(report.release->student) << ", " << report.release->files.size()
        << " files, checkpoint " << Line(report.release->checkpoint_digest) << "\n";
    for (const auto& q : report.release->quality) {
      out << "  claimed quality, " << Line(q.student) << ": kl " << Line(q.kl) << ", agreement "
          << Line(q.agreement) << ", perplexity " << Short(q.perplexity) << " over " << q.tokens
          << " tokens\n";
    }
  }

  if (report.cost.everything.attempts > 0) {
    out << "\nCost of training, as the trainers signed it\n" << CostText(report.cost);
  }

  out << "\nChecked\n";
  for (const auto& checked : l.checked) out << Count(checked.count) << "  " << Line(checked.what) << "\n";
  out << "\nNot checked\n";
  for (const std::string& sentence : l.not_checked) out << "  - " << Line(sentence) << "\n";
  return out.str();
}

std::string AuditJson(const AuditReport& report) {
  using Json = nlohmann::ordered_json;
  const ledger::VerifyReport& l = report.ledger;
  Json json;
  json["verdict"] = l.Verdict();
  json["verified"] = report.verified();
  json["findings"] = Json::array();
  for (const auto& finding : l.findings)
    json["findings"].push_back({{"where", finding.where}, {"what", finding.what}});
  json["more_findings"] = l.more_findings;
  json["checkpoint"] = {{"origin", l.checkpoint.origin},
                        {"size", l.checkpoint.size},
                        {"root", ledger::HexEncode(l.checkpoint.root)}};
  json["log_key"] = l.log_vkey;
  json["keys"] = Json::array();
  for (const auto& key : report.keys) {
    json["keys"].push_back(
        {{"role", key.role}, {"vkey", key.vkey}, {"action", key.action}, {"entry", key.entry}});
  }
  json["samples"] = {{"allowed", report.samples_allowed},
                     {"review", report.samples_review},
                     {"denied", report.samples_denied}};
  json["jobs"] = {
      {"allowed", report.jobs_allowed}, {"review", report.jobs_review}, {"denied", report.jobs_denied}};
  json["packs"] = Json::array();
  for (const auto& pack : report.packs) {
    json["packs"].push_back({{"id", pack.id},
                             {"version", pack.version},
                             {"sha256", pack.sha256},
                             {"source_url", pack.source_url},
                             {"document_date", pack.document_date},
                             {"confidence", pack.confidence}});
  }
  if (report.release) {
    Json student = {{"name", report.release->student},
                    {"checkpoint_digest", report.release->checkpoint_digest},
                    {"files", Json::array()}};
    for (const auto& file : report.release->files) {
      student["files"].push_back({{"path", file.path}, {"sha256", file.sha256}, {"bytes", file.bytes}});
    }
    json["student"] = std::move(student);
  }
  if (report.cost.everything.attempts > 0) json["cost"] = Json::parse(CostJson(report.cost));
  json["checked"] = Json::array();
  for (const auto& checked : l.checked)
    json["checked"].push_back({{"what", checked.what}, {"count", checked.count}});
  json["not_checked"] = l.not_checked;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace retort::services
