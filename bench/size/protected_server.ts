// The smallest program with a protected server; tools/size.ts measures it.
import { createServer, implement, rpc, type Server, service } from "@postern/rpc";
import { allow, createTrust, importIdentity, keyOfPair, policy, protect } from "@postern/rpc/auth";
import * as v from "valibot";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
});
const { bundle, pair, token } = globalThis as unknown as {
  readonly bundle: Parameters<typeof createTrust>[0];
  readonly pair: CryptoKeyPair;
  readonly token: string;
};
const server: Server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
  guard: protect({
    identity: importIdentity(await keyOfPair(pair), token),
    trust: await createTrust(bundle),
    policy: policy([allow({ caller: "spiffe://example.org/web", call: "greeter.v1/hello" })]),
  }),
});
export default server;
