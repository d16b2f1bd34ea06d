// A producer and a reader with kafkajs and Confluent's registry client for it. usage: README.md
'use strict';
const modules = process.env.FOREIGN_MODULES + '/node_modules/';
const { Kafka, logLevel } = require(modules + 'kafkajs');
const { SchemaRegistry, SchemaType } = require(modules + '@kafkajs/confluent-schema-registry');

const [mode, broker, url, topic, ...rest] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 20 } });
const registry = new SchemaRegistry({ host: url });

const schema = {
  type: 'record', name: 'Request', namespace: 'org.js', fields: [
    { name: 'top_k', type: 'int' },
    { name: 'note', type: 'string' },
    { name: 'tensors', type: { type: 'array', items: { type: 'record', name: 'Tensor', fields: [
      { name: 'data', type: { type: 'array', items: 'float' } },
      { name: 'shape', type: { type: 'array', items: 'int' } }] } } },
    { name: 'model', type: 'string' },
    { name: 'request', type: 'string', aliases: ['id'] }] };

async function produce(model, count) {
  const { id } = await registry.register({ type: SchemaType.AVRO, schema: JSON.stringify(schema) }, { subject: topic + '-js' });
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  const data = new Array(2 * 3 * 32 * 32).fill(0);
  data[0] = data[3 * 32 * 32] = 0.5;
  const messages = [];
  for (let i = 0; i < count; i++) {
    const value = { request: `js-${i}`, model, top_k: 2, note: 'x', tensors: [{ data, shape: [2, 3, 32, 32] }] };
    messages.push({ key: value.request, value: await registry.encode(id, value) });
  }
  await producer.send({ topic, acks: -1, messages });
  await producer.disconnect();
}

async function read(count) {
  const consumer = kafka.consumer({ groupId: `js-${process.pid}` });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let left = count;
  await new Promise((done, failed) => consumer.run({
    eachMessage: async ({ message }) => {
      try {
        const v = await registry.decode(message.value), t = v.tensors[0];
        if (left > 0)
          console.log(JSON.stringify({ id: v.id, model: v.model, dtype: t.dtype, shape: t.shape, bytes: t.data.length }));
        if (--left === 0)
          done();
      } catch (error) {
        failed(error);
      }
    } }));
  await consumer.disconnect();
}

(mode === 'produce' ? produce(rest[0], +rest[1]) : read(+rest[0])).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
