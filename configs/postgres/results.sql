-- The database of the results, beside Prefect's, with a user that writes it and one that reads it. Run at each start of
-- the stack: it makes what is lacking, and sets the passwords of the environment.
\set ON_ERROR_STOP on
\getenv writer RESULTS_WRITER_PASSWORD
\getenv reader RESULTS_READER_PASSWORD
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['sli_writer', 'sli_reader']) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
ALTER ROLE sli_writer PASSWORD :'writer';
ALTER ROLE sli_reader PASSWORD :'reader';
ALTER ROLE sli_reader SET default_transaction_read_only = on;
SELECT 'CREATE DATABASE results ENCODING ''UTF8'' TEMPLATE template0'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'results') \gexec
REVOKE ALL ON DATABASE results, prefect FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE results TO sli_writer;
GRANT CONNECT ON DATABASE results TO sli_reader;
\connect results
CREATE SCHEMA IF NOT EXISTS sli AUTHORIZATION sli_writer;
GRANT USAGE ON SCHEMA sli TO sli_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE sli_writer IN SCHEMA sli GRANT SELECT ON TABLES TO sli_reader;
