// The smallest program with a server; tools/size.ts measures it.
import { createServer, implement, publicOnly, rpc, type Server, service } from "@postern/rpc";
import * as v from "valibot";

const Greeter = service("greeter.v1", {
  hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
});
const server: Server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
  guard: publicOnly(["greeter.v1/hello"]),
});
export default server;
