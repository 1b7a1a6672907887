// Send an email with the types that openapi-typescript made: node THIS URL KEY.
import createClient from "openapi-fetch";
import type { components, paths } from "./mercury.d.ts";

declare const process: { argv: string[] };
type Submission = components["schemas"]["Submission"];

const [url, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const email: Submission = {
  sender: "zeus@olimpus.com",
  recipients: ["hera@olimpus.com", "iris@olimpus.com"],
  subject: "Grüße",
  content: "Hi",
};
const header = { "Idempotency-Key": "typescript-1" };

// What the types refuse: an email from nobody, a field that there is not, and a resolution that does not say what happened.
// @ts-expect-error
const fromNobody: Submission = { recipient: "hera@olimpus.com" };
// @ts-expect-error
const misspelt: Submission = { sender: "zeus@olimpus.com", subjet: "Hi" };
// @ts-expect-error
const resolved: components["schemas"]["ResolveMail"] = {};
// @ts-expect-error
const relay: components["schemas"]["NewSMTPAccount"] = { name: "relay", kind: "smtp", options: { port: 25 } };

const accepted = (await client.POST("/api/v1.0/mails/", { params: { header }, body: email })).data!;
const again = (await client.POST("/api/v1.0/mails/", { params: { header }, body: email })).data!;
const refused = (await client.POST("/api/v1.0/mails/", { body: { sender: "zeus@olimpus.com" } })).error!;
const path = { mail_id: accepted.id! };
await client.POST("/api/v1.0/mails/{mail_id}/events/", { params: { path }, body: { event: "READ BY HERA" } });
const read = (await client.GET("/api/v1.0/mails/{mail_id}", { params: { path } })).data!;
const page = (await client.GET("/api/v1.0/mails/", { params: { query: { expand: true } } })).data!;

console.log(
  JSON.stringify({
    id: accepted.id,
    again: again.id,
    subject: read.subject,
    listed: page.mails!.length,
    refused: refused.errors[0].pointer,
  }),
);
