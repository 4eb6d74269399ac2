// The smallest program with a client; tools/size.ts measures it.
import { anonymous, createClient, fetchTransport, rpc, service } from "@postern/rpc";
import * as v from "valibot";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
});
const greeter = createClient(Greeter, fetchTransport("https://localhost:8443", { prover: anonymous() }));
console.log(await greeter.hello({ name: "Ada" }));
