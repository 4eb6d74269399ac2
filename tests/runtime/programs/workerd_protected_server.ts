import type { Server } from "@postern/rpc";
import { createProtectedApp } from "./protected_app.ts";

let app: Promise<Server> | undefined;

/** Made at the first request, because a worker has its bindings from then on. */
export default {
  async fetch(request: Request, env: { readonly input: string }): Promise<Response> {
    app ??= createProtectedApp(JSON.parse(env.input));
    return await (await app).fetch(request);
  },
};
