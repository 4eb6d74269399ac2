// The server: who may call it is the one thing that has no default.
import { createServer, implement, publicOnly } from "@postern/rpc";
import { Greeter } from "./greeter.ts";

export default createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
  guard: publicOnly(["greeter.v1/hello"]),
});
