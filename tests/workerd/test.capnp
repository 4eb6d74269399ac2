# One worker whose test() handler runs every portable test. `node:assert` and the like come with nodejs_compat, which is
# on by default from the compatibility date 2026-08-04.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = ( services = [ (name = "tests", worker = .tests) ] );

const tests :Workerd.Worker = (
  modules = [ (name = "main", esModule = embed "../../.dev/tests/workerd.js") ],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = [ "enable_request_signal" ],
);
