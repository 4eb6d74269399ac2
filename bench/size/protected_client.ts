// The smallest program with a client that proves itself; tools/size.ts measures it.
import { createClient, fetchTransport, rpc, service } from "@postern/rpc";
import { createTrust, generateIdentity, prove, remoteAuthority } from "@postern/rpc/auth";
import { anonymous } from "@postern/rpc";
import * as v from "valibot";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
});
const { bundle, evidence } = globalThis as unknown as {
  readonly bundle: Parameters<typeof createTrust>[0];
  readonly evidence: { readonly type: string; readonly token: string };
};
const trust = await createTrust(bundle);
const authority = remoteAuthority(
  "example.org",
  fetchTransport("https://localhost:8444", { prover: anonymous() }),
);
const identity = await generateIdentity(authority, { evidence });
const prover = prove({ identity, trust, peer: "spiffe://example.org/greeter" });
const greeter = createClient(Greeter, fetchTransport("https://localhost:8443", { prover }));
console.log(await greeter.hello({ name: "Ada" }));
