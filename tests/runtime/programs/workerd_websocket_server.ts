import { worker } from "../../../src/runtime/workerd.ts";
import { createApp } from "./websocket_app.ts";

export default worker(createApp());
