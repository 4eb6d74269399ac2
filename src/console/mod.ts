/**
 * What a server answers beside calls, as an application of its own: today its health.
 *
 * In a separate subpath, so that a server that needs none of it bundles no router, and calls do not pay for one.
 *
 * @example Calls and health on one port, in any Hono application
 * ```ts
 * import { createServer, implement, publicOnly, rpc, service } from "@postern/rpc";
 * import { consoleRoutes } from "@postern/rpc/console";
 * import { Hono } from "hono";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 * const server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: publicOnly(["greeter.v1/hello"]),
 * });
 *
 * const app = new Hono();
 * app.all("/greeter.v1/*", (c) => server.fetch(c.req.raw));
 * app.mount("/", consoleRoutes(server).fetch);
 * ```
 *
 * @module
 */
export { type ConsoleRoutes, consoleRoutes, type Drainable } from "./console_routes.ts";
