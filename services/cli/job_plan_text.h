// The plan of a job that is not created yet, for people.
#ifndef SERVICES_CLI_JOB_PLAN_TEXT_H_
#define SERVICES_CLI_JOB_PLAN_TEXT_H_

#include "services/cli/cli.h"

namespace retort::services {

// "EUR 1.25"; without a currency the number alone. At most `digits` after the point, rounded half up.
std::string MoneyText(const retort::jobs::v1::Money& money, int digits);

// Prints the plan that validate_only has filled, in the form that was asked for.
void PrintPlan(const Cli& cli, const retort::jobs::v1::Job& job);

}  // namespace retort::services

#endif  // SERVICES_CLI_JOB_PLAN_TEXT_H_
