// A small valid job and the fake trainer that the tests carry it through with.
#ifndef TESTS_SERVICES_JOBS_EXAMPLE_JOB_H_
#define TESTS_SERVICES_JOBS_EXAMPLE_JOB_H_

#include <string>

#include "retort/jobs/v1/jobs.pb.h"
#include "tests/services/jobs/test_folder.h"

namespace retort::jobs {

// Four prompts, one of them held out; one training run of 4 steps.
inline v1::JobSpec ExampleSpec() {
  v1::JobSpec spec;
  spec.set_teacher("smol");
  spec.mutable_purpose()->set_kind("general_llm");
  spec.set_prompt_licence("own");
  for (int i = 0; i < 4; ++i) {
    v1::Prompt& prompt = *spec.add_prompts();
    prompt.set_id("prompt-" + std::to_string(i));
    prompt.set_text("question " + std::to_string(i));
    if (i == 3) prompt.set_split("held_out");
  }
  spec.mutable_sampling()->set_top_p(1);
  spec.mutable_sampling()->set_max_tokens(16);
  spec.mutable_sampling()->set_top_logprobs(8);
  spec.mutable_student()->set_name("Example-1");
  spec.mutable_student()->set_shape("unit");
  v1::TrainingSpec& training = *spec.mutable_training();
  training.set_steps(4);
  training.set_batch_tokens(128);
  training.set_sequence_length(64);
  training.set_learning_rate(0.001);
  training.set_seed(7);
  return spec;
}

inline v1::CreateJobRequest ExampleRequest(const std::string& id = "example") {
  v1::CreateJobRequest request;
  request.set_parent("projects/p");
  request.set_job_id(id);
  *request.mutable_spec() = ExampleSpec();
  return request;
}

// A trainer that learns nothing: reads its flags, says what a trainer says, and leaves a student behind.
inline constexpr char kFakeTrainer[] = R"sh(
while [ $# -gt 0 ]; do
  case "$1" in --run-dir) dir="$2";; --run) run="$2";; esac
  shift 2
done
digest=00000000000000000000000000000000000000000000000000000000000000aa
echo '{"event":"started","parameters":1000,"active_parameters":400,"resumed_step":0}'
echo '{"event":"quality","student":"untrained","kl":5.5,"agreement":0.0,"perplexity":1000,"tokens":10}'
for step in 1 2 3 4; do
  echo '{"event":"step","step":'$step',"steps":4,"loss":2.5,"tokens":128,"tokens_per_second":1000}'
done
echo '{"event":"checkpoint","step":4,"digest":"'$digest'"}'
echo '{"event":"quality","student":"'$run'","kl":1.25,"agreement":0.5,"perplexity":20,"tokens":10}'
mkdir -p "$dir/student"
echo weights > "$dir/student/model.safetensors"
echo '{}' > "$dir/student/config.json"
echo '{"event":"finished","step":4,"digest":"'$digest'","entry":77,"student_dir":"'$dir'/student"}'
)sh";

}  // namespace retort::jobs

#endif  // TESTS_SERVICES_JOBS_EXAMPLE_JOB_H_
