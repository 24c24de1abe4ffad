#include "services/telemetry/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort::services {
namespace {

using prometheus::Counter, prometheus::Family, prometheus::Gauge, prometheus::Histogram;

// What OpenTelemetry advises for rpc.server.call.duration, in seconds.
const Histogram::BucketBoundaries& CallBuckets() {
  static const Histogram::BucketBoundaries buckets{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                   0.5,   0.75, 1,     2.5,  5,     7.5, 10};
  return buckets;
}
// Jobs wait for hours behind a training run.
const Histogram::BucketBoundaries& WaitBuckets() {
  static const Histogram::BucketBoundaries buckets{1, 5, 15, 60, 300, 900, 1800, 3600, 14400, 43200};
  return buckets;
}

}  // namespace

class Metrics::Impl final : public prometheus::Collectable {
 public:
  explicit Impl(const BuildInfo& build)
      : in_flight_(OneGauge("retort_rpc_in_flight", "Calls that are being answered.")),
        calls_(MakeFamily<Histogram>("retort_rpc_server_call_duration_seconds",
                                     "Seconds from a call's arrival to its status, streams included.")),
        evaluation_(OneHistogram("retort_policy_evaluation_seconds",
                                 "Seconds of one decision about a job or a sample.")),
        append_(OneHistogram("retort_ledger_append_seconds", "Seconds until an appended entry is durable.")),
        verify_failures_(OneCounter("retort_ledger_verify_failures_total",
                                    "Reads that found stored bytes not matching their hash or signature.")),
        samples_(MakeFamily<Counter>("retort_samples_total",
                                     "Samples recorded, by teacher, verdict and deciding rule.")),
        teacher_(OneHistogram("retort_teacher_request_seconds",
                              "Seconds of one call of a teacher, retries included.")),
        tokens_(
            MakeFamily<Counter>("retort_teacher_tokens_total", "Tokens sent to and received from teachers.")),
        queue_wait_(HistogramOf("retort_job_queue_wait_seconds",
                                "Seconds from a job's creation to its first step.", WaitBuckets())),
        tree_size_(MakeFamily<Gauge>("retort_ledger_tree_size", "Entries of all logs of this process.")),
        entries_(
            MakeFamily<Counter>("retort_ledger_entries_total", "Entries appended since the process began.")),
        checkpoint_(MakeFamily<Gauge>("retort_ledger_last_checkpoint_timestamp_seconds",
                                      "When the newest checkpoint was signed, as Unix time.")),
        appendable_(MakeFamily<Gauge>("retort_ledger_appendable",
                                      "1 while logs take entries, 0 while they refuse them.")),
        jobs_(MakeFamily<Gauge>("retort_jobs", "Jobs by state.")),
        expiry_(MakeFamily<Gauge>("retort_tls_cert_expiry_timestamp_seconds",
                                  "When this server's certificate ends, as Unix time.")),
        ready_(MakeFamily<Gauge>("retort_ready", "1 while calls are welcome, as the health service says.")) {
    MakeFamily<Gauge>("retort_build_info", "1; what this program was built from.")
        .Add({{"version", build.version}, {"commit", build.commit}})
        .Set(1);
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::lock_guard lock(scrape_mutex_);
    for (const auto& update : updates_) update();
    return registry_.Collect();
  }

  Histogram& CallHistogram(const std::string& method, const std::string& code) {
    const std::lock_guard lock(mutex_);
    const std::string bounded = methods_.Bounded(method);
    Histogram*& histogram = call_histograms_[{bounded, code}];
    if (histogram == nullptr) {
      histogram = &calls_.Add({{"grpc_method", bounded}, {"grpc_code", code}}, CallBuckets());
    }
    return *histogram;
  }

  Counter& SampleCounter(const std::string& teacher, const std::string& verdict, const std::string& rule) {
    const std::lock_guard lock(mutex_);
    return samples_.Add({{"teacher", teachers_.Bounded(teacher)},
                         {"verdict", verdicts_.Bounded(verdict)},
                         {"rule", rules_.Bounded(rule)}});
  }

  template <class Metric>
  Family<Metric>& MakeFamily(const std::string& name, const std::string& help) {
    if constexpr (std::is_same_v<Metric, Gauge>) {
      return prometheus::BuildGauge().Name(name).Help(help).Register(registry_);
    } else if constexpr (std::is_same_v<Metric, Counter>) {
      return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
    } else {
      return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
    }
  }
  Gauge& OneGauge(const std::string& name, const std::string& help) {
    return MakeFamily<Gauge>(name, help).Add({});
  }
  Counter& OneCounter(const std::string& name, const std::string& help) {
    return MakeFamily<Counter>(name, help).Add({});
  }
  Histogram& OneHistogram(const std::string& name, const std::string& help) {
    return HistogramOf(name, help, CallBuckets());
  }
  Histogram& HistogramOf(const std::string& name, const std::string& help,
                         const Histogram::BucketBoundaries& buckets) {
    return MakeFamily<Histogram>(name, help).Add({}, buckets);
  }

  // Admits so many values of a label; called with mutex_ held.
  class LabelBound {
   public:
    explicit LabelBound(size_t values_max) : values_max_(values_max) {}
    std::string Bounded(const std::string& value) {
      if (values_.contains(value)) return value;
      if (value.empty() || value.size() > 128 || values_.size() >= values_max_)
        return std::string(kOtherLabel);
      values_.insert(value);
      return value;
    }

   private:
    const size_t values_max_;
    std::set<std::string> values_;
  };

  prometheus::Registry registry_;  // first: the others are of it
  Gauge& in_flight_;
  Family<Histogram>& calls_;
  Histogram& evaluation_;
  Histogram& append_;
  Counter& verify_failures_;
  Family<Counter>& samples_;
  Histogram& teacher_;
  Family<Counter>& tokens_;
  Histogram& queue_wait_;
  Family<Gauge>& tree_size_;
  Family<Counter>& entries_;
  Family<Gauge>& checkpoint_;
  Family<Gauge>& appendable_;
  Family<Gauge>& jobs_;
  Family<Gauge>& expiry_;
  Family<Gauge>& ready_;

  std::mutex mutex_;  // guards what follows, up to the next
  std::map<std::pair<std::string, std::string>, Histogram*> call_histograms_;
  LabelBound methods_{kMethodsMax}, teachers_{kTeachersMax}, rules_{kRulesMax}, verdicts_{3};
  std::set<std::string> states_;  // that SetJobs has named

  mutable std::mutex scrape_mutex_;  // one scrape at a time
  std::vector<std::function<void()>> updates_;
};

Metrics::Metrics(const BuildInfo& build) : impl_(std::make_shared<Impl>(build)) {}
Metrics::~Metrics() = default;

void Metrics::CallBegan() {
  impl_->in_flight_.Increment();
}

void Metrics::CallEnded(const std::string& method, const std::string& code, double seconds) {
  impl_->in_flight_.Decrement();
  impl_->CallHistogram(method, code).Observe(seconds);
}

void Metrics::PolicyEvaluated(double seconds) {
  impl_->evaluation_.Observe(seconds);
}

void Metrics::LedgerAppended(double seconds) {
  impl_->append_.Observe(seconds);
}

void Metrics::LedgerVerifyFailed() {
  impl_->verify_failures_.Increment();
}

void Metrics::SampleRecorded(const std::string& teacher, const std::string& verdict,
                             const std::string& rule) {
  impl_->SampleCounter(teacher, verdict, rule).Increment();
}

void Metrics::TeacherAsked(double seconds) {
  impl_->teacher_.Observe(seconds);
}

void Metrics::TeacherTokens(int64_t input, int64_t output) {
  impl_->tokens_.Add({{"direction", "input"}}).Increment(static_cast<double>(std::max<int64_t>(0, input)));
  impl_->tokens_.Add({{"direction", "output"}}).Increment(static_cast<double>(std::max<int64_t>(0, output)));
}

void Metrics::JobBegan(double queued_seconds) {
  impl_->queue_wait_.Observe(std::max(0.0, queued_seconds));
}

void Metrics::SetLedger(const LedgerFigures& figures) {
  impl_->tree_size_.Add({}).Set(static_cast<double>(figures.entries));
  Counter& entries = impl_->entries_.Add({});
  entries.Increment(std::max(0.0, static_cast<double>(figures.appended) - entries.Value()));
  if (figures.newest_us > 0) impl_->checkpoint_.Add({}).Set(static_cast<double>(figures.newest_us) / 1e6);
  impl_->appendable_.Add({}).Set(figures.appendable ? 1 : 0);
}

void Metrics::SetJobs(const std::map<std::string, int64_t>& by_state) {
  const std::lock_guard lock(impl_->mutex_);
  for (const auto& [state, count] : by_state) impl_->states_.insert(state);
  for (const std::string& state : impl_->states_) {
    const auto found = by_state.find(state);
    impl_->jobs_.Add({{"state", state}})
        .Set(found == by_state.end() ? 0 : static_cast<double>(found->second));
  }
}

void Metrics::SetCertificateExpiry(double unix_seconds) {
  impl_->expiry_.Add({}).Set(unix_seconds);
}

void Metrics::SetReady(bool ready) {
  impl_->ready_.Add({}).Set(ready ? 1 : 0);
}

void Metrics::OnScrape(std::function<void()> update) {
  const std::lock_guard lock(impl_->scrape_mutex_);
  impl_->updates_.push_back(std::move(update));
}

std::string Metrics::Text() {
  return prometheus::TextSerializer().Serialize(impl_->Collect());
}

std::shared_ptr<prometheus::Collectable> Metrics::collectable() const {
  return impl_;
}

}  // namespace retort::services
