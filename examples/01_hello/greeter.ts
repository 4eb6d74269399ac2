// The contract: the one file that the server and its clients share.
import { rpc, service } from "@postern/rpc";
import * as v from "valibot";

const Name = v.pipe(v.string(), v.minLength(1), v.maxLength(64));

export const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: Name }), v.object({ text: v.string() }), { safe: true }),
});
