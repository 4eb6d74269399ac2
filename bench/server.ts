// A contestant as a process of its own: prints its port, serves until it is ended.
import { bareHandler, posternServer } from "./greeter.ts";

const handler = Deno.args[0] === "bare" ? bareHandler : posternServer().fetch;
Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: ({ port }) => console.log(port) }, handler);
