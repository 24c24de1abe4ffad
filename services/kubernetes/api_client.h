// The few calls of the Kubernetes API that a launcher of training needs: create, list, watch and delete
// objects of one namespace, and follow a container's log. Not a general client: no discovery, no patches, no
// caches.
//
// The service account's token is read for each request and the authorities for each connection, since a
// kubelet replaces both while the pod runs.
//
// Belongs to the thread of its Transfers.
#ifndef SERVICES_KUBERNETES_API_CLIENT_H_
#define SERVICES_KUBERNETES_API_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/kubernetes/http_transfer.h"

namespace retort::kubernetes {

// How the API server is reached.
struct ApiServer {
  std::string url;               // https://host:port
  std::string authorities_file;  // PEM
  std::string token_file;
};

// As getenv: null when a variable is not set.
using Environment = std::function<const char*(const char* name)>;

// The API server of the cluster whose pod this process is: KUBERNETES_SERVICE_HOST and _PORT, and what the
// kubelet mounts in `mounted` (/var/run/secrets/kubernetes.io/serviceaccount). FailedPrecondition when this
// is no pod.
absl::StatusOr<ApiServer> ServerOfThisPod(const Environment& environment, const std::string& mounted);

// Reads a file of one short line (a token, a namespace). FailedPrecondition naming the file when it cannot be
// read, is empty, over 64 KiB, or holds anything but visible ASCII.
absl::StatusOr<std::string> ReadLineFile(const std::string& path);

// A name or a value in a path or a query, percent-encoded.
std::string UrlEscape(std::string_view text);

using Query = std::vector<std::pair<std::string, std::string>>;

class ApiClient {
 public:
  // `transfers` outlives the client.
  ApiClient(ApiServer server, Transfers& transfers);

  // Sends a request and drives all transfers until the answer is whole. `did` says what it is, for messages:
  // "create jobs". Errors are those of Transfer::outcome and of api_error.h; FailedPrecondition also when the
  // token cannot be read; Cancelled when `give_up`, asked every 100 ms, says so. The body of a 2xx answer.
  absl::StatusOr<std::string> Call(std::string_view did, const std::string& method, const std::string& path,
                                   const Query& query, std::string body,
                                   const std::function<bool()>& give_up);

  // Begins a GET whose answer is taken as it comes. `call` has the limits and on_data; the rest is filled in.
  // FailedPrecondition when the token cannot be read.
  absl::StatusOr<std::unique_ptr<Transfers::Transfer>> Open(const std::string& path, const Query& query,
                                                            HttpCall call);

  Transfers& transfers() { return transfers_; }

 private:
  const ApiServer server_;
  Transfers& transfers_;
};

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_API_CLIENT_H_
