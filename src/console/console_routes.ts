import { Hono } from "hono";

/** What has a health to tell: a Postern server. */
export interface Drainable {
  /** Whether it is about to end and takes no more calls. */
  readonly draining: boolean;
}

/** An application that answers requests; mounts into any router by its `fetch`. */
export interface ConsoleRoutes {
  /** Answers one request. */
  readonly fetch: (request: Request) => Response | Promise<Response>;
}

/**
 * The routes beside the calls.
 *
 * `GET /healthz` answers 200 with `{"status":"serving"}`, and 503 with `{"status":"not_serving"}` once the server drains,
 * so that a load balancer stops sending to it. It tells nothing else, because anyone may ask.
 *
 * @param server Whose health is told.
 * @returns The application.
 */
export function consoleRoutes(server: Drainable): ConsoleRoutes {
  const app = new Hono();
  app.get("/healthz", (c) => {
    c.header("cache-control", "no-store");
    return server.draining ? c.json({ status: "not_serving" }, 503) : c.json({ status: "serving" });
  });
  return { fetch: (request) => app.fetch(request) };
}
