import { type Worker, worker } from "../../../src/runtime/workerd.ts";
import { createProtectedApp } from "./protected_app.ts";

let app: Promise<Worker> | undefined;

/** Made at the first request, because a worker has its bindings from then on. */
export default {
  async fetch(request: Request, env: { readonly input: string }): Promise<Response> {
    app ??= createProtectedApp(JSON.parse(env.input)).then(worker);
    return await (await app).fetch(request);
  },
};
