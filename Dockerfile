FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MERCURY_DATA=/data
WORKDIR /mercury

COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

COPY . .
RUN MERCURY_DATA=/tmp/build python manage.py collectstatic --noinput && rm -r /tmp/build \
    && useradd --system mercury && mkdir -m 700 /data && chown mercury /data

USER mercury
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "mercury.wsgi"]
