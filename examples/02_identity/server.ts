// The server of step 1, protected: it has an identity, and callers need one that the policy names.
import { createServer, implement } from "@postern/rpc";
import { allow, policy, protect } from "@postern/rpc/auth";
import { Greeter } from "../01_hello/greeter.ts";
import { join, trust } from "./authority.ts";

const greeter = implement(Greeter, {
  hello: ({ name }, { caller }) => ({ text: `Hello, ${name}! I know you by ${caller?.id}.` }),
});

export default createServer(greeter, {
  guard: protect({
    identity: await join("spiffe://example.org/greeter", ["greeter.v1"]),
    trust,
    policy: policy([allow({ caller: "spiffe://example.org/web", call: "greeter.v1/hello" })]),
  }),
});
